"""The commands that only read: status, check, wait, current, log, history, heads, branches, show."""

from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import CHECKS, SCRATCH, argument, flag, option, revisions
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

_PANEL = "Look"


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, formats=CHECKS)
    async def status(
        context: CommandContext,
        exit_code: bool = flag("--exit-code", "Exit with status 3 where revisions are pending."),
    ) -> Result:
        """Show server, revisions, pending revisions, locks, last run and problems of all databases."""
        from circle_migrate.commands.status import status as action

        return await action(await context.ready(), strict=exit_code)

    @command(app, panel=_PANEL, options=SCRATCH, formats=CHECKS)
    async def check(
        context: CommandContext,
        no_pending: bool = flag("--no-pending", "Do not fail because of pending revisions."),
        files_only: bool = flag("--files-only", "Check only the files; needs no server."),
        base: str | None = option(
            "REF", "Compare with the trees of this git revision, for example origin/main."
        ),
        models: bool = flag("--models", "Compare models with revisions."),
        check_drift: bool = flag("--drift", "Compare the databases with their revisions."),
        consistency: bool = flag("--consistency", "Compare the keys of the databases."),
        check_safety: bool = flag("--safety", "Check pending revisions as safety-check does."),
    ) -> Result:
        """Run all checks of a pipeline and report every finding. The worst one decides the exit status.

        Examples:
            circle-migrate check --no-pending # before a release
            circle-migrate check --models --drift --consistency --safety # everything
            circle-migrate check --files-only --base origin/main --format github
        """
        from circle_migrate.commands.check import check as action

        if files_only and (check_drift or consistency):
            flag = "--drift" if check_drift else "--consistency"
            raise UsageError(f"{flag} reads the databases", hint=f"leave out --files-only or {flag}")
        if files_only and check_safety and base is None:
            raise UsageError(
                "--files-only --safety needs --base to know what is pending", hint="add --base origin/main"
            )
        return await action(
            context.files() if files_only else await context.ready(),
            databases=not files_only,
            pending=not no_pending,
            base=base,
            models=models,
            drift=check_drift,
            consistency=consistency,
            safety=check_safety,
        )

    @command(app, panel=_PANEL, options=("events",), formats=CHECKS)
    async def wait(
        context: CommandContext,
        timeout: float = option(  # noqa: ASYNC109 - the name of the option
            "SECONDS", "Wait at most this long.", default=300.0, min=0, show_default="300"
        ),
        compatible: bool = flag("--compatible", "Accept a database that is ahead."),
    ) -> Result:
        """Wait until all databases are at the project's heads. Reads only and locks nothing."""
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
        limit: int = option("N", "Show at most N runs.", "--limit", "-n", default=20, min=1),
        slowest: bool = flag("--slowest", "Show their steps, slowest first."),
        source: str | None = option("REVISION", "Show the source of a revision as it ran."),
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
        revision_range: str | None = argument("FROM:TO", "List only these revisions."),
        indicate_current: bool = flag(
            "--indicate-current", "Mark the current revisions; reads the databases.", "-i"
        ),
    ) -> Result:
        """List the revisions, newest first."""
        from circle_migrate.commands.history import history as action

        deployment, rows = await context.trees(with_current=indicate_current)
        return action(deployment, revision_range, rows)

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
        revision: list[str] = argument(
            "REVISION",
            "Show this revision: head, an id or its beginning; main@head is for main only.",
            default=...,
            autocompletion=revisions,
        ),
    ) -> Result:
        """Show message, file, parents and requirements of a revision."""
        from circle_migrate.commands.history import show as action

        return action(context.files(), revision)
