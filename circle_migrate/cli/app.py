"""The application: its help page, and the groups of commands that belong to it."""

from __future__ import annotations

from typing import Annotated

import typer

from circle_migrate import __version__
from circle_migrate.cli import authoring, configuration, development, looking, migrating

_EPILOG = "\n\n".join(
    [
        "[bold]Examples[/bold]",
        "circle-migrate upgrade --embedded [dim]# try it on a private PostgreSQL[/dim]",
        "circle-migrate upgrade --dry-run [dim]# what would run, in which order[/dim]",
        "circle-migrate upgrade credentials@+1 [dim]# one step, one database[/dim]",
        "circle-migrate downgrade -1 -d main [dim]# shows what goes, then asks[/dim]",
        'circle-migrate revision --autogenerate -m "add a table"',
        "[bold]Environment[/bold]",
        "DATABASE_URL, CREDS_DATABASE_URL [dim]# or …_FILE, .env, pyproject.toml[/dim]",
        "CIRCLE_MIGRATE_EMBEDDED=1 [dim]# as --embedded[/dim]",
        "NO_COLOR, FORCE_COLOR [dim]# as everywhere[/dim]",
        "[bold]Exit status[/bold]",
        "0 done · 1 bug · 2 usage or settings · 3 pending · 4 drift · 5 refused",
        "6 locked · 7 ahead or unknown · 8 in doubt · 9 unreachable or not writable",
        "10 failed, rolled back · 129, 130, 143 interrupted",
    ]
)

app = typer.Typer(
    help="One migration tool for two PostgreSQL databases: both Alembic trees, one plan, one command.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

migrating.register(app)
looking.register(app)
authoring.register(app)
configuration.register(app)
development.register(app)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback
    if wanted:
        typer.echo(f"circle-migrate {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """One migration tool for two PostgreSQL databases: both Alembic trees, one plan, one command."""
