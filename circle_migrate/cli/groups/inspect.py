"""The commands that only read: status, check, wait, current, log, history, heads, branches, show."""

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
        context: CommandContext,
        exit_code: Annotated[
            bool, typer.Option("--exit-code", help="Exit with status 3 where revisions are pending.")
        ] = False,
    ) -> Result:
        """Show server, revisions, pending revisions, locks, last run and problems of both databases."""
        from circle_migrate.commands.status import status as action

        return await action(await context.ready(), strict=exit_code)

    @command(app, panel=_PANEL, options=SCRATCH, formats=CHECKS)
    async def check(
        context: CommandContext,
        no_pending: Annotated[
            bool, typer.Option("--no-pending", help="Do not fail because of pending revisions.")
        ] = False,
        files_only: Annotated[
            bool, typer.Option("--files-only", help="Check only the files; needs no server.")
        ] = False,
        base: Annotated[
            str | None,
            typer.Option(metavar="REF", help="Compare with the trees of this git revision: origin/main."),
        ] = None,
        models: Annotated[bool, typer.Option("--models", help="Compare models with revisions.")] = False,
        drift: Annotated[
            bool, typer.Option("--drift", help="Compare the databases with their revisions.")
        ] = False,
        consistency: Annotated[
            bool, typer.Option("--consistency", help="Compare the keys of the databases.")
        ] = False,
        check_safety: Annotated[
            bool, typer.Option("--safety", help="Check pending revisions as safety-check does.")
        ] = False,
    ) -> Result:
        """Run all checks of a pipeline and report every finding. The worst one decides the exit status."""
        from circle_migrate.commands.check import CheckSelection
        from circle_migrate.commands.check import check as action

        if files_only and (drift or consistency):
            flag = "--drift" if drift else "--consistency"
            raise UsageError(f"{flag} reads the databases", hint=f"leave out --files-only or {flag}")
        if files_only and check_safety and base is None:
            raise UsageError(
                "--files-only --safety needs --base to know what is pending", hint="add --base origin/main"
            )
        selection = CheckSelection(
            databases=not files_only,
            pending=not no_pending,
            base=base,
            models=models,
            drift=drift,
            consistency=consistency,
            safety=check_safety,
        )
        return await action(context.files() if files_only else await context.ready(), selection)

    @command(app, panel=_PANEL, formats=CHECKS)
    async def wait(
        context: CommandContext,
        timeout: Annotated[  # noqa: ASYNC109 - the name of the option
            float, typer.Option(metavar="SECONDS", min=0, help="Wait at most this long.", show_default="300")
        ] = 300.0,
        compatible: Annotated[
            bool, typer.Option("--compatible", help="Accept a database that is ahead.")
        ] = False,
    ) -> Result:
        """Wait until both databases are at the heads of this package. Reads only and locks nothing."""
        from circle_migrate.commands.wait import wait as action

        return await action(await context.ready(), timeout, compatible=compatible, notify=context.progress)

    @command(app, panel=_PANEL)
    async def current(context: CommandContext) -> Result:
        """Show the current revision of each database."""
        from circle_migrate.commands.history import current as action

        return await action(await context.ready())

    @command(app, panel=_PANEL)
    async def log(
        context: CommandContext,
        limit: Annotated[
            int, typer.Option("--limit", "-n", min=1, metavar="N", help="Show at most N runs per database.")
        ] = 20,
        slowest: Annotated[bool, typer.Option("--slowest", help="Show their steps, slowest first.")] = False,
        source: Annotated[
            str | None, typer.Option(metavar="REVISION", help="Show the source of a revision as it ran.")
        ] = None,
    ) -> Result:
        """Show past runs: start, user, duration and outcome."""
        from circle_migrate.commands.log import log as action
        from circle_migrate.commands.log import source as read_source

        deployment = await context.ready()
        if source is not None:
            return await read_source(deployment, source)
        return await action(deployment, limit, slowest=slowest)

    @command(app, panel=_PANEL)
    async def history(
        context: CommandContext,
        span: Annotated[str | None, typer.Argument(metavar="FROM:TO", help="Only these revisions.")] = None,
        indicate_current: Annotated[
            bool,
            typer.Option("--indicate-current", "-i", help="Mark the current revisions; reads the databases."),
        ] = False,
    ) -> Result:
        """List the revisions, newest first."""
        from circle_migrate.commands.history import history as action
        from circle_migrate.migrate.identity import verify_identity

        if not indicate_current:
            return action(context.files(), span)
        deployment = await context.ready()
        return action(deployment, span, verify_identity(deployment, await deployment.states()))

    @command(app, panel=_PANEL)
    def heads(context: CommandContext) -> Result:
        """List the heads of each tree."""
        from circle_migrate.commands.history import heads as action

        return action(context.files())

    @command(app, panel=_PANEL)
    def branches(context: CommandContext) -> Result:
        """List the points at which a tree branches."""
        from circle_migrate.commands.history import branches as action

        return action(context.files())

    @command(app, panel=_PANEL)
    def show(
        context: CommandContext,
        revision: Annotated[
            list[str], typer.Argument(metavar="REVISION", help=TARGET, autocompletion=revisions)
        ],
    ) -> Result:
        """Show message, file, parents and requirements of a revision."""
        from circle_migrate.commands.history import show as action

        return action(context.files(), revision)
