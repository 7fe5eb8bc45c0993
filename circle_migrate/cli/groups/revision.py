"""The commands revision, merge and stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.completion import revisions
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import DryRun, OverrideProtection, Targets, Yes
from circle_migrate.cli.shared_options import SCRATCH

if TYPE_CHECKING:
    from circle_migrate.core.result import Result

_PANEL = "Write"

_MESSAGE = typer.Option("--message", "-m", metavar="TEXT", help="Describe the revision.")
_Label = Annotated[
    str | None, typer.Option("--branch-label", metavar="LABEL", help="Name the revision's branch.")
]
_Id = Annotated[str | None, typer.Option("--rev-id", metavar="ID", help="Use this id, not a random one.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, options=SCRATCH)
    async def revision(
        context: CommandContext,
        message: Annotated[str, _MESSAGE],
        autogenerate: Annotated[
            bool, typer.Option("--autogenerate", help="Write the changes from the revisions to the models.")
        ] = False,
        head: Annotated[
            str | None,
            typer.Option(metavar="REVISION", help="Follow this revision, or base.", autocompletion=revisions),
        ] = None,
        splice: Annotated[bool, typer.Option("--splice", help="Allow a second head.")] = False,
        branch_label: _Label = None,
        depends_on: Annotated[
            list[str] | None, typer.Option(metavar="REVISION", help="Require this revision too. Repeatable.")
        ] = None,
        rev_id: _Id = None,
    ) -> Result:
        """Write a revision file; with --autogenerate one for each database whose models have changed."""
        from circle_migrate.commands.revision import revision as action
        from circle_migrate.diff.autogenerate.position import Placement

        position = Placement(head, splice, branch_label, tuple(depends_on or ()), rev_id)
        if autogenerate:
            from circle_migrate.diff.autogenerate.autogenerate import autogenerate as generate
            from circle_migrate.safety.hazards.loader import HAZARDS

            return await generate(await context.ready(), message, position, HAZARDS)
        return action(context.files(), message, position)

    @command(app, panel=_PANEL)
    def merge(
        context: CommandContext,
        revision: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="REVISION",
                help="Merge these revisions.",
                show_default="all heads",
                autocompletion=revisions,
            ),
        ] = None,
        message: Annotated[str | None, _MESSAGE] = None,
        branch_label: _Label = None,
        rev_id: _Id = None,
    ) -> Result:
        """Write a revision that joins several heads."""
        from circle_migrate.commands.revision import merge as action
        from circle_migrate.diff.autogenerate.position import Placement

        position = Placement(label=branch_label, id=rev_id)
        return action(context.files(), revision or [], message, position)

    @command(app, panel=_PANEL, options=("lock_wait",), negative_arguments=True)
    async def stamp(
        context: CommandContext,
        target: Targets,
        purge: Annotated[
            bool, typer.Option("--purge", help="Remove unknown revisions from the version table too.")
        ] = False,
        dry_run: DryRun = False,
        yes: Yes = False,
        override_protection: OverrideProtection = None,
    ) -> Result:
        """Record TARGET as current without running any revision. Shows the effect and asks first."""
        from circle_migrate.cli.confirm import confirm_stamp
        from circle_migrate.commands.stamp import stamp as action

        return await action(
            await context.ready(),
            target,
            confirm=confirm_stamp(yes=yes),
            purge=purge,
            dry_run=dry_run,
            overridden=override_protection or (),
            notify=context.progress,
        )
