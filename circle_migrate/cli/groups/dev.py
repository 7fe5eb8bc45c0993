"""Commands for developers: the embedded server (dev start, stop, status, psql, reset), dev snapshots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command, group
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import Yes
from circle_migrate.cli.output_format import CHECKS

if TYPE_CHECKING:
    from circle_migrate.config.settings import Settings
    from circle_migrate.core.result import Result
    from circle_migrate.postgres.embedded.server import ServerStatus

_PANEL = "Set up"
_WITHOUT = ("database", "database_url", "creds_database_url", "embedded")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    about = "For developers: the private PostgreSQL of --embedded, snapshots to ship."
    dev = group(app, "dev", about, _PANEL)

    @command(dev, panel=_PANEL, without=_WITHOUT)
    async def start(call: CommandContext) -> Result:
        """Start the server and create both databases; URLs to connect with are printed."""
        return _answer("dev start", await _started(call.settings()))

    @command(dev, panel=_PANEL, without=_WITHOUT)
    def stop(call: CommandContext) -> Result:
        """Stop the server; its data stays."""
        from circle_migrate.postgres.embedded.deployment import server

        embedded = server(call.settings())
        embedded.stop()
        return _answer("dev stop", embedded.status())

    @command(dev, panel=_PANEL, without=_WITHOUT)
    def status(call: CommandContext) -> Result:
        """Say whether the server runs and how to reach it."""
        from circle_migrate.postgres.embedded.deployment import server

        return _answer("dev status", server(call.settings()).status())

    @command(dev, panel=_PANEL, without=("database_url", "creds_database_url", "embedded", "format", "quiet"))
    async def psql(
        call: CommandContext,
        arguments: Annotated[
            list[str] | None, typer.Argument(metavar="[-- PSQL OPTIONS]", help="Given to psql as they are.")
        ] = None,
    ) -> Result:
        """Open psql on main, or on the database of --database."""
        from circle_migrate.postgres.deployment import Deployment
        from circle_migrate.postgres.embedded.deployment import database_name, server

        settings = call.settings()
        name = Deployment(settings, call.database).selected[0]
        await _started(settings)
        argv = server(settings).psql_command(database_name(name), *(arguments or ()))
        os.execv(argv[0], argv)  # noqa: S606 - psql takes over the terminal

    @command(dev, panel=_PANEL, without=_WITHOUT)
    def reset(call: CommandContext, yes: Yes = False) -> Result:
        """Stop the server and delete its data."""
        from circle_migrate.cli.confirm import confirm_reset
        from circle_migrate.postgres.embedded.deployment import server

        embedded = server(call.settings())
        confirm_reset(str(embedded.status().data), yes=yes)
        embedded.reset()
        return _answer("dev reset", embedded.status())

    @command(
        dev,
        panel=_PANEL,
        running=("scratch_url",),
        without=("database_url", "creds_database_url", "embedded"),
        formats=CHECKS,
    )
    async def snapshots(
        call: CommandContext,
        major: Annotated[
            list[int] | None,
            typer.Option(
                metavar="N", help="For this version of PostgreSQL; default: all there are servers for."
            ),
        ] = None,
        folder: Annotated[
            Path | None, typer.Option(metavar="FOLDER", help="Where to; default: beside the revision files.")
        ] = None,
        check: Annotated[
            bool, typer.Option("--check", help="Write nothing; end with 4 where one is out of date.")
        ] = False,
    ) -> Result:
        """Write what each revision leads to, so that diff needs no server of its own in production."""
        from circle_migrate.diff.expected.build_shipped import build_snapshots

        return await build_snapshots(call.files(), folder, major or (), check=check)


async def _started(settings: Settings) -> ServerStatus:
    """The server, running and with both databases."""
    from circle_migrate.postgres.create_database import create_missing
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.postgres.embedded.deployment import addressed, server

    status = server(settings).start()
    await create_missing(Deployment(addressed(settings, status)))
    return status


def _answer(command_name: str, status: ServerStatus) -> Result:
    from circle_migrate.commands.listing_results import ServerResult
    from circle_migrate.postgres.embedded.deployment import urls

    facts: dict[str, str | int | bool | None] = {
        "running": status.running,
        "data": str(status.data),
        "version": status.major,
        "pid": status.pid,
        "account": status.account,
        "log": str(status.log),
        "note": f"{status.requested} cannot be reached by {status.account}; the data lies elsewhere"
        if status.moved
        else None,
    }
    return ServerResult(command_name, facts, urls(status))
