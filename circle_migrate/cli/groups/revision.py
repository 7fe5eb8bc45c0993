"""Commands that write revision files or version tables: revision, merge, stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.completion import revisions
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import DryRun, Overridden, Targets, Yes
from circle_migrate.cli.shared_options import SCRATCH

if TYPE_CHECKING:
    from circle_migrate.core.result import Result

_PANEL = "Write"

Message = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What the revision is for.")]
Label = Annotated[str | None, typer.Option("--branch-label", metavar="LABEL", help="A name for its branch.")]
Id = Annotated[str | None, typer.Option("--rev-id", metavar="ID", help="Its id, else a random one.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, running=SCRATCH)
    async def revision(
        call: CommandContext,
        message: Message,
        autogenerate: Annotated[
            bool,
            typer.Option("--autogenerate", help="From what the models have that the revisions have not."),
        ] = False,
        head: Annotated[
            str | None,
            typer.Option(metavar="REVISION", help="Follow this revision, or base.", autocompletion=revisions),
        ] = None,
        splice: Annotated[
            bool, typer.Option("--splice", help="Even where that makes a second head.")
        ] = False,
        branch_label: Label = None,
        depends_on: Annotated[
            list[str] | None, typer.Option(metavar="REVISION", help="Needs this revision too.")
        ] = None,
        rev_id: Id = None,
    ) -> Result:
        """Write a new revision file; with --autogenerate one for each database whose models have changed."""
        from circle_migrate.commands.revision import revision as action
        from circle_migrate.diff.autogenerate.position import Placement

        position = Placement(head, splice, branch_label, tuple(depends_on or ()), rev_id)
        if autogenerate:
            from circle_migrate.diff.autogenerate.autogenerate import autogenerate as generate
            from circle_migrate.safety.hazards.loader import HAZARDS

            return await generate(await call.ready(call.deployment()), message, position, HAZARDS)
        return action(call.files(), message, position)

    @command(app, panel=_PANEL)
    def merge(
        call: CommandContext,
        revision: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="REVISION", help="What to merge, else all heads.", autocompletion=revisions
            ),
        ] = None,
        message: Annotated[
            str | None, typer.Option("--message", "-m", metavar="TEXT", help="What the revision is for.")
        ] = None,
        branch_label: Label = None,
        rev_id: Id = None,
    ) -> Result:
        """Write a revision that joins several heads."""
        from circle_migrate.commands.revision import merge as action
        from circle_migrate.diff.autogenerate.position import Placement

        position = Placement(label=branch_label, id=rev_id)
        return action(call.files(), revision or [], message, position)

    @command(app, panel=_PANEL, running=("lock_wait",), signed=True)
    async def stamp(
        call: CommandContext,
        target: Targets,
        purge: Annotated[
            bool, typer.Option("--purge", help="Even where the table holds revisions nobody knows.")
        ] = False,
        dry_run: DryRun = False,
        yes: Yes = False,
        override_protection: Overridden = None,
    ) -> Result:
        """Record TARGET as current without running anything. Shows what that claims and asks first."""
        from circle_migrate.cli.confirm import confirm_stamp
        from circle_migrate.commands.stamp import stamp as action

        deployment = await call.ready(call.deployment())
        confirm = confirm_stamp(yes=yes)
        return await action(
            deployment,
            target,
            confirm=confirm,
            purge=purge,
            dry_run=dry_run,
            overridden=override_protection or (),
            notify=call.notify(),
        )
