"""Commands that look and never write: current, log, history, heads, branches, show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.completion import revisions
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import TARGET
from circle_migrate.cli.output_format import CHECKS
from circle_migrate.cli.shared_options import SCRATCH
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.core.result import Result

_PANEL = "Look"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, formats=CHECKS)
    async def status(
        call: CommandContext,
        exit_code: Annotated[
            bool, typer.Option("--exit-code", help="End with 3 where revisions are pending.")
        ] = False,
    ) -> Result:
        """Show both databases: server, revision, what is pending, locks, the last run, whatever is wrong."""
        from circle_migrate.commands.status import status as action

        return await action(await call.ready(call.deployment()), strict=exit_code)

    @command(app, panel=_PANEL, running=SCRATCH, formats=CHECKS)
    async def check(
        call: CommandContext,
        no_pending: Annotated[
            bool, typer.Option("--no-pending", help="Pending revisions are no failure.")
        ] = False,
        files_only: Annotated[
            bool, typer.Option("--files-only", help="Only what the files say; needs no server.")
        ] = False,
        base: Annotated[
            str | None,
            typer.Option(metavar="REF", help="Compare with the trees of this git revision: origin/main."),
        ] = None,
        models: Annotated[bool, typer.Option("--models", help="Whether models and revisions agree.")] = False,
        drift: Annotated[
            bool, typer.Option("--drift", help="Whether the databases are what their revisions made.")
        ] = False,
        consistency: Annotated[
            bool, typer.Option("--consistency", help="Whether the databases hold the same keys.")
        ] = False,
        judged: Annotated[
            bool, typer.Option("--safety", help="What pending revisions would do; as safety-check.")
        ] = False,
    ) -> Result:
        """The gate for pipelines: ask everything, report everything; the worst decides the exit status."""
        from circle_migrate.commands.check import CheckSelection
        from circle_migrate.commands.check import check as action

        if files_only and (drift or consistency):
            raise UsageError(
                "files do not say what a database is like",
                hint=f"leave out --files-only or --{'drift' if drift else 'consistency'}",
            )
        if files_only and judged and base is None:
            raise UsageError("files do not say what is pending", hint="say it: --base origin/main")
        questions = CheckSelection(
            databases=not files_only,
            pending=not no_pending,
            base=base,
            models=models,
            drift=drift,
            consistency=consistency,
            safety=judged,
        )
        deployment = call.files() if files_only else await call.ready(call.deployment())
        return await action(deployment, questions)

    @command(app, panel=_PANEL, formats=CHECKS)
    async def wait(
        call: CommandContext,
        patience: Annotated[
            float,
            typer.Option("--timeout", metavar="SECONDS", min=0, help="How long at most.", show_default="300"),
        ] = 300.0,
        compatible: Annotated[
            bool, typer.Option("--compatible", help="A database that is ahead will do.")
        ] = False,
    ) -> Result:
        """Wait until both databases are at the heads of this package; reads only, locks nothing."""
        from circle_migrate.commands.wait import wait as action

        deployment = await call.ready(call.deployment())
        return await action(deployment, patience, compatible=compatible, notify=call.notify())

    @command(app, panel=_PANEL)
    async def current(call: CommandContext) -> Result:
        """Show the revision each database is at."""
        from circle_migrate.commands.history import current as action

        return await action(await call.ready(call.deployment()))

    @command(app, panel=_PANEL)
    async def log(
        call: CommandContext,
        limit: Annotated[
            int, typer.Option("--limit", "-n", min=1, metavar="N", help="How many runs per database.")
        ] = 20,
        slowest: Annotated[bool, typer.Option("--slowest", help="Their steps, slowest first.")] = False,
        source: Annotated[
            str | None, typer.Option(metavar="REVISION", help="The text of a revision as it was applied.")
        ] = None,
    ) -> Result:
        """Show what ran: when, by whom, how long, with which outcome."""
        from circle_migrate.commands.log import log as action
        from circle_migrate.commands.log import source as text

        deployment = await call.ready(call.deployment())
        if source is not None:
            return await text(deployment, source)
        return await action(deployment, limit, slowest=slowest)

    @command(app, panel=_PANEL)
    async def history(
        call: CommandContext,
        span: Annotated[str | None, typer.Argument(metavar="FROM:TO", help="Only these revisions.")] = None,
        indicate_current: Annotated[
            bool, typer.Option("--indicate-current", "-i", help="Mark the current ones; asks the databases.")
        ] = False,
    ) -> Result:
        """List the revisions, newest first."""
        from circle_migrate.commands.history import history as action
        from circle_migrate.migrate.identity import verify_identity

        if not indicate_current:
            return action(call.files(), span)
        deployment = await call.ready(call.deployment())
        return action(deployment, span, verify_identity(deployment, await deployment.states()))

    @command(app, panel=_PANEL)
    def heads(call: CommandContext) -> Result:
        """List the heads of each tree."""
        from circle_migrate.commands.history import heads as action

        return action(call.files())

    @command(app, panel=_PANEL)
    def branches(call: CommandContext) -> Result:
        """List the points at which a tree branches."""
        from circle_migrate.commands.history import branches as action

        return action(call.files())

    @command(app, panel=_PANEL)
    def show(
        call: CommandContext,
        revision: Annotated[
            list[str], typer.Argument(metavar="REVISION", help=TARGET, autocompletion=revisions)
        ],
    ) -> Result:
        """Show a revision: its message, file, parents and requirements."""
        from circle_migrate.commands.history import show as action

        return action(call.files(), revision)
