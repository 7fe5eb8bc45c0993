"""Commands about settings: config show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from circle_migrate.cli.call import Call, command

if TYPE_CHECKING:
    from circle_migrate.core.result import Result


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    config = typer.Typer(name="config", help="What the settings are.", no_args_is_help=True)
    app.add_typer(config, rich_help_panel="Set up")

    @command(config, "show", panel="Set up", without=("database",))
    def show(call: Call) -> Result:
        """Show every setting that holds and where it came from; passwords hidden."""
        from circle_migrate.core.listings import Configuration

        values = call.settings().values
        return Configuration("config show", tuple((each.key, each.shown, each.source) for each in values))
