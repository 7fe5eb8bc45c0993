"""The commands config show and schema."""

from __future__ import annotations

import typer

from circle_migrate.cli.command import command, group
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import argument
from circle_migrate.core.result import Result

_NO_DATABASE = ("database", "database_url", "creds_database_url", "embedded", "embedded_data", "quiet")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    config = group(app, "config", "Show the settings.", "Set up")

    @command(config, "show", panel="Set up", without=("database",))
    def show(context: CommandContext) -> Result:
        """Show the value and the source of every setting, without passwords."""
        from circle_migrate.commands.set_up_results import ConfigurationResult

        values = context.settings(notes=True).values
        return ConfigurationResult(
            "config show", tuple((value.key, value.shown, value.source) for value in values)
        )

    @command(app, panel="Set up", without=_NO_DATABASE)
    def schema(
        context: CommandContext,
        name: list[str] = argument("COMMAND", "For example: status, config show.", default=...),
    ) -> Result:
        """Print the JSON Schema of what a command writes with --format json."""
        from circle_migrate.cli.json_schema.command_schema import schema as command_schema
        from circle_migrate.commands.set_up_results import SchemaResult

        return SchemaResult(context.command, command_schema(" ".join(name)))
