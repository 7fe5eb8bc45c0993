"""The commands revision, merge, squash, rebase and stamp."""

from functools import partial
from pathlib import Path

from circle_migrate.cli import options as shared
from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import SCRATCH, argument, flag, option, revisions
from circle_migrate.core.result import Result

_PANEL = "Write"

_message = partial(option, "TEXT", "Describe the revision.", "--message", "-m")
_LABEL = option("LABEL", "Name the revision's branch.", "--branch-label")
_ID = option("ID", "Use this id, not a random one.", "--rev-id")


def register(app: Declarations) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, options=SCRATCH)
    async def revision(
        context: CommandContext,
        message: str = _message(default=...),
        autogenerate: bool = flag("--autogenerate", "Write the changes from the revisions to the models."),
        head: str | None = option("REVISION", "Follow this revision, or base.", autocompletion=revisions),
        splice: bool = flag("--splice", "Allow a second head."),
        branch_label: str | None = _LABEL,
        depends_on: list[str] | None = option("REVISION", "Require this revision too. Repeatable."),
        rev_id: str | None = _ID,
        version_path: Path | None = option("FOLDER", "Write into this one of several folders of revisions."),
    ) -> Result:
        """Write a revision file; with --autogenerate one for each database whose models have changed."""
        from circle_migrate.commands.revision import revision as action
        from circle_migrate.diff.autogenerate.placement import Placement

        position = Placement(head, splice, branch_label, tuple(depends_on or ()), rev_id, version_path)
        if autogenerate:
            from circle_migrate.diff.autogenerate.autogenerate import autogenerate as generate
            from circle_migrate.safety.hazards.hazard import HAZARDS

            return await generate(await context.ready(), message, position, HAZARDS)
        return action(context.files(), message, position)

    @command(app, panel=_PANEL)
    def merge(
        context: CommandContext,
        revision: list[str] | None = argument(
            "REVISION", "Merge these revisions.", show_default="all heads", autocompletion=revisions
        ),
        message: str | None = _message(),
        branch_label: str | None = _LABEL,
        rev_id: str | None = _ID,
    ) -> Result:
        """Write a revision that joins several heads."""
        from circle_migrate.commands.revision import merge as action
        from circle_migrate.diff.autogenerate.placement import Placement

        position = Placement(label=branch_label, id=rev_id)
        return action(context.files(), revision or [], message, position)

    @command(app, panel=_PANEL, options=SCRATCH)
    async def squash(
        context: CommandContext,
        revision_range: str = argument("FROM:TO", "Replace these revisions, both included.", default=...),
        message: str | None = _message(),
        rev_id: str | None = _ID,
        dry_run: bool = flag("--dry-run", "Derive and prove the revision; write nothing."),
    ) -> Result:
        """Write one revision that replaces several, after a proof on scratch databases.

        Its statements lead from the catalog before FROM to the one after TO. The replaced files stay: a
        database at one of them goes on with them, one at TO counts as at the squashed revision, and an empty
        one runs the squashed revision only.

        Examples:
            circle-migrate squash base:4d44f6b6663c -d main
            circle-migrate squash a1b2c3:d4e5f6 -m "orders of 2024" --dry-run
        """
        from circle_migrate.commands.squash.squash import squash as action
        from circle_migrate.safety.hazards.hazard import HAZARDS

        return await action(context.files(), revision_range, message, HAZARDS, rev_id=rev_id, dry_run=dry_run)

    @command(app, panel=_PANEL)
    async def rebase(
        context: CommandContext,
        revision: str = argument(
            "REVISION", "Move this revision, with all that follow it.", default=..., autocompletion=revisions
        ),
        onto: str | None = option(
            "HEAD", "Follow this head.", show_default="the only other one", autocompletion=revisions
        ),
        base: str | None = option(
            "BRANCH", "Refuse what this git branch has.", show_default="origin/main or main"
        ),
        dry_run: bool = flag("--dry-run", "Show the change of the file; write nothing."),
    ) -> Result:
        """Let a revision that nobody has applied follow the new head.

        Two people wrote a revision on the same head, and now there are two heads. This rewrites down_revision
        and the line Revises: of the own one. It is refused if a database that answers has applied the
        revision or one that follows it, or if the base branch has its file.

        Examples:
            circle-migrate rebase a1b2c3
            circle-migrate rebase a1b2c3 --onto d4e5f6 --base origin/develop --dry-run
        """
        from circle_migrate.commands.rebase import rebase as action

        return await action(context.deployment(), revision, onto=onto, base=base, dry_run=dry_run)

    @command(app, panel=_PANEL, options=("lock_wait", "events"), negative_arguments=True)
    async def stamp(
        context: CommandContext,
        target: list[str] = shared.targets("Record this revision", default=...),
        purge: bool = flag("--purge", "Remove unknown revisions from the version table too."),
        dry_run: bool = shared.DRY_RUN,
        yes: bool = shared.YES,
        override_protection: list[str] | None = shared.OVERRIDE_PROTECTION,
    ) -> Result:
        """Record TARGET as current without running any revision. Shows the effect and asks first."""
        from circle_migrate.cli.confirm import confirm_stamp
        from circle_migrate.commands.stamp import stamp as action

        return await action(
            await context.ready(),
            target,
            confirm=partial(confirm_stamp, yes=yes),
            purge=purge,
            dry_run=dry_run,
            overridden=override_protection or (),
            notify=context.progress,
        )
