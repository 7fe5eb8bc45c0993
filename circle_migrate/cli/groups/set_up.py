"""The commands adopt, config, schema, help and dev: what sets up a project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from circle_migrate.cli.command import Declarations, command, group
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import CHECKS, COMMON, YES, argument, flag, option
from circle_migrate.core.errors import ExitCode, UsageError
from circle_migrate.core.result import Result

if TYPE_CHECKING:
    from circle_migrate.config.settings import Settings
    from circle_migrate.postgres.embedded.server import EmbeddedServer, ServerStatus

_PANEL = "Set up"
_URLS = ("database_url", "creds_database_url", "url", "embedded")
_WITHOUT = ("database", *_URLS)
_WITHOUT_RUN = (*_WITHOUT, "env", "embedded_data", "quiet", "no_progress")


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, without=_WITHOUT_RUN)
    def adopt(
        _context: CommandContext,
        path: list[Path] | None = argument(
            "PATH",
            "Adopt only the Alembic environments in this folder or file.",
            show_default="the whole project",
        ),
        write: bool = flag("--write", "Write the settings into pyproject.toml; without it, show them."),
    ) -> Result:
        """Write settings for the Alembic environments of a project. Runs no env.py.

        Examples:
            circle-migrate adopt # show what would be written, and what is left to do
            circle-migrate adopt --write
            circle-migrate adopt services/billing --write
        """
        from circle_migrate.commands.adopt.adopt import adopt as action

        return action(Path.cwd(), path or (), os.environ, write=write)

    _register_config(group(app, "config", "Show the settings, and the schema of their table.", _PANEL))

    @command(app, panel=_PANEL, without=_WITHOUT_RUN)
    def schema(
        context: CommandContext,
        name: list[str] = argument(
            "COMMAND", "Print the schema of this command, for example config show.", default=...
        ),
    ) -> Result:
        """Print the JSON Schema of what a command writes with --format json."""
        from circle_migrate.commands.json_schema.command_schema import schema as command_schema
        from circle_migrate.commands.set_up_results import SchemaResult

        return SchemaResult(context.command, command_schema(" ".join(name)))

    @command(app, "help", panel=_PANEL, without=tuple(COMMON))
    def explain_exit_codes(
        _context: CommandContext,
        topic: list[str] = argument("COMMAND|exit-codes", "Explain this.", default=...),  # noqa: ARG001 - in app
    ) -> None:
        """Show the page of a command, or the meaning of every exit status.

        Examples:
            circle-migrate help downgrade
            circle-migrate help exit-codes
        """
        for status in sorted(ExitCode):
            typer.echo(f"{status:>3}  {status.meaning}")
        raise typer.Exit

    dev = group(
        app, "dev", "Control the private PostgreSQL of --embedded, and write snapshots to ship.", _PANEL
    )

    @command(dev, panel=_PANEL, without=_WITHOUT)
    async def start(context: CommandContext) -> Result:
        """Start the server, create the databases and print their URLs."""
        settings, embedded = _embedded(context)
        return _result("dev start", settings, await _start(settings, embedded))

    @command(dev, panel=_PANEL, without=_WITHOUT)
    def stop(context: CommandContext) -> Result:
        """Stop the server. Its data stays."""
        settings, embedded = _embedded(context)
        embedded.stop()
        return _result("dev stop", settings, embedded.status())

    @command(dev, panel=_PANEL, without=_WITHOUT)
    def status(context: CommandContext) -> Result:
        """Show whether the server runs and its URLs."""
        settings, embedded = _embedded(context)
        return _result("dev status", settings, embedded.status())

    @command(dev, panel=_PANEL, without=(*_URLS, "format", "quiet", "no_progress"))
    async def psql(
        context: CommandContext,
        arguments: list[str] | None = argument("[-- PSQL OPTIONS]", "Pass these options to psql."),
    ) -> Result:
        """Open psql on the first database, or on that of --database."""
        from circle_migrate.postgres.deployment import Deployment
        from circle_migrate.postgres.embedded.server import database_name

        settings, embedded = _embedded(context)
        name, *others = Deployment(settings, context.database).selected
        if context.database and others:
            raise UsageError("psql connects to one database", hint="give one --database NAME")
        await _start(settings, embedded)
        argv = embedded.psql_command(database_name(name), *(arguments or ()))
        os.execv(argv[0], argv)  # noqa: S606 - psql takes over the terminal

    @command(dev, panel=_PANEL, without=_WITHOUT)
    def reset(context: CommandContext, yes: bool = YES) -> Result:
        """Stop the server and delete its data."""
        from circle_migrate.cli.confirm import confirm_reset

        settings, embedded = _embedded(context)
        confirm_reset(str(embedded.status().data), yes=yes)
        embedded.reset()
        return _result("dev reset", settings, embedded.status())

    @command(dev, panel=_PANEL, options=("scratch_url",), without=_URLS, formats=CHECKS)
    async def snapshots(
        context: CommandContext,
        major: list[int] | None = option(
            "N", "Write for this major version of PostgreSQL.", show_default="all that have a server"
        ),
        folder: Path | None = option(
            "FOLDER", "Write to this folder.", show_default="beside the revision files"
        ),
        check: bool = flag("--check", "Write nothing; exit status 4 where a file is out of date."),
    ) -> Result:
        """Write the catalog of each revision, so that diff needs no scratch server in production."""
        from circle_migrate.diff.expected.build_shipped import build_snapshots

        return await build_snapshots(context.files(), folder, major or (), check=check)


def _register_config(config: Declarations) -> None:
    @command(config, "show", panel=_PANEL, without=("database",))
    def show(
        context: CommandContext,
        with_defaults: bool = flag("--all", "Show the settings that have their defaults, too."),
    ) -> Result:
        """Show the settings that are set with their sources, without passwords."""
        from circle_migrate.commands.set_up_results import ConfigurationResult
        from circle_migrate.config.provenance import DEFAULT

        values = context.settings(notes=True).values
        shown = [value for value in values if with_defaults or value.source != DEFAULT.label]
        return ConfigurationResult("config show", tuple(shown))

    @command(config, "schema", panel=_PANEL, without=_WITHOUT_RUN)
    def settings_schema(_context: CommandContext) -> Result:
        """Print the JSON Schema of [tool.circle-migrate] in pyproject.toml, for editors."""
        from circle_migrate.commands.set_up_results import SchemaResult
        from circle_migrate.config.json_schema import settings_schema

        return SchemaResult("config schema", settings_schema())


def _embedded(context: CommandContext) -> tuple[Settings, EmbeddedServer]:
    from circle_migrate.postgres.embedded.server import EmbeddedServer

    settings = context.settings()
    return settings, EmbeddedServer(settings.embedded_data)


async def _start(settings: Settings, embedded: EmbeddedServer) -> ServerStatus:
    """Start the server and create the databases."""
    from circle_migrate.postgres.create_database import create_missing
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.postgres.embedded.server import with_embedded_urls

    status = embedded.start()
    await create_missing(Deployment(with_embedded_urls(settings, status)))
    return status


def _result(command_name: str, settings: Settings, status: ServerStatus) -> Result:
    from circle_migrate.commands.set_up_results import ServerResult
    from circle_migrate.postgres.embedded.server import urls

    facts: dict[str, str | int | bool | None] = {
        "running": status.running,
        "data": str(status.data),
        "version": status.major,
        "pid": status.pid,
        "account": status.account,
        "log": str(status.log),
        "note": f"{status.account} cannot reach {status.requested}, so the data is in another folder"
        if status.is_substitute
        else None,
    }
    return ServerResult(command_name, facts, urls(settings, status))
