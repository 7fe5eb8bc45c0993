"""Commands that migrate: init, upgrade, downgrade, plan, recover."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import (
    Cascade,
    DownTargets,
    DryRun,
    EncryptTo,
    OptionalTargets,
    Overridden,
    PlanFile,
    Sql,
    Yes,
)
from circle_migrate.cli.output_format import LOSSES, Format
from circle_migrate.cli.safety_options import JUDGING
from circle_migrate.cli.shared_options import RUNNING
from circle_migrate.core.errors import UsageError

if TYPE_CHECKING:
    from circle_migrate.commands.downgrade_backup import BackupPolicy
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.core.result import Result
    from circle_migrate.postgres.deployment import Deployment

_PANEL = "Migrate"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, running=tuple(RUNNING))
    async def init(call: CommandContext) -> Result:
        """Create missing databases and bring them to head."""
        from circle_migrate.commands.upgrade import initialise
        from circle_migrate.postgres.create_database import create_missing

        deployment = call.deployment()
        return await initialise(deployment, await create_missing(deployment), call.notify())

    @command(app, panel=_PANEL, running=(*RUNNING, *JUDGING), signed=True)
    async def upgrade(
        call: CommandContext,
        target: OptionalTargets = None,
        dry_run: DryRun = False,
        sql: Sql = False,
        plan: PlanFile = None,
        allow_edited: Annotated[
            bool, typer.Option("--allow-edited", help="Although files of applied revisions have changed.")
        ] = False,
        allow: Annotated[
            list[str] | None,
            typer.Option(
                metavar="CLASS", help="A class of dangers that is known: data-loss. May be repeated."
            ),
        ] = None,
        no_restore_kept: Annotated[
            bool,
            typer.Option("--no-restore-kept", help="Leave what `downgrade --keep` has kept where it is."),
        ] = False,
    ) -> Result:
        """Apply pending revisions, to head or to TARGET.

        Both databases go together: their transactions stay open until every step on both has succeeded.
        """
        saved = saved_plan(plan, target, up=True)
        targets = saved.targets if saved else target or ["head"]
        if sql:
            return await _script(call, targets, up=True)
        from circle_migrate.cli.safety_gate import gate
        from circle_migrate.commands.upgrade import upgrade as action

        deployment = await call.ready(call.deployment())
        return await action(
            deployment,
            targets,
            dry_run=dry_run,
            allow_edited=allow_edited,
            saved=saved,
            gate=gate(call, deployment, allow or ()),
            restore_kept=not no_restore_kept,
            notify=call.notify(),
        )

    @command(app, panel=_PANEL, running=(*RUNNING, "pg_bin"), formats=LOSSES, signed=True)
    async def downgrade(
        call: CommandContext,
        target: DownTargets = None,
        dry_run: DryRun = False,
        sql: Sql = False,
        yes: Yes = False,
        accept_loss: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME", help="May be lost, as the report calls it; once for each."),
        ] = None,
        plan: PlanFile = None,
        cascade: Cascade = False,
        keep: Annotated[
            bool,
            typer.Option("--keep", help="Keep what would go in side tables; the next upgrade puts it back."),
        ] = False,
        backup: Annotated[
            Path | None,
            typer.Option(
                metavar="DIR",
                help="Back up all databases to a folder in DIR first. Without it to backups/, where "
                "data goes for good and pg_dump is there.",
            ),
        ] = None,
        no_backup: Annotated[
            bool, typer.Option("--no-backup", help="Although data goes for good; the journal has it.")
        ] = False,
        encrypt_to: EncryptTo = None,
        rehearse: Annotated[
            bool,
            typer.Option(
                "--rehearse", help="Find losses by running it on the live databases too, rolled back."
            ),
        ] = False,
        rehearse_timeout: Annotated[
            float,
            typer.Option(metavar="SECONDS", min=0.1, help="How long a rehearsal may hold others up."),
        ] = 5.0,
        override_protection: Overridden = None,
    ) -> Result:
        """Undo every revision above TARGET. Shows what would be lost and asks first.

        With --dry-run it ends there: exit status 5 where something would be lost.
        """
        saved = saved_plan(plan, target, up=False)
        targets = saved.targets if saved else target
        if not targets:
            raise UsageError("a downgrade needs a target", hint="-1, base, a revision id, or --plan FILE")
        if sql:
            return await _script(call, targets, up=False)
        if call.format is Format.MARKDOWN and not dry_run:
            raise UsageError("markdown is a format for losses", hint="add --dry-run, or leave out --format")
        from circle_migrate.cli.confirm import accept_losses
        from circle_migrate.commands.downgrade import LossConfirmation
        from circle_migrate.commands.downgrade import downgrade as action
        from circle_migrate.safety.losses.find import find as look

        deployment = await call.ready(call.deployment())
        find = partial(look, deployment, rehearse=rehearse, seconds=rehearse_timeout, notify=call.notify())
        return await action(
            deployment,
            targets,
            confirm=LossConfirmation(find, accept_losses(accept_loss or (), yes=yes, keep=keep)),
            cascade=saved.cascade if saved else cascade,
            keep=keep,
            backing=_backing(deployment, backup, encrypt_to, no_backup=no_backup),
            dry_run=dry_run,
            saved=saved,
            overridden=override_protection or (),
            notify=call.notify(),
        )

    @command(app, panel=_PANEL, running=("atomic", "transaction"), signed=True)
    async def plan(
        call: CommandContext,
        target: DownTargets = None,
        down: Annotated[bool, typer.Option("--down", help="Of a downgrade.")] = False,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save it, for --plan FILE.")
        ] = None,
        cascade: Cascade = False,
    ) -> Result:
        """Show the steps, the transactions they share, and why each ends where it does."""
        from circle_migrate.commands.plan import plan as action
        from circle_migrate.commands.plan import save
        from circle_migrate.revision_graph.plan import Direction

        if down and not target:
            raise UsageError("the plan of a downgrade needs a target", hint="-1, base or a revision id")
        targets = target or ["head"]
        direction = Direction.DOWN if down else Direction.UP
        deployment = await call.ready(call.deployment())
        planned = await action(deployment, targets, direction, cascade=cascade)
        if output is None:
            return planned
        save(planned, targets, direction, output, cascade=cascade)
        return replace(planned, file=str(output))

    @command(app, panel=_PANEL, running=("lock_wait",))
    async def recover(call: CommandContext, dry_run: DryRun = False) -> Result:
        """Settle what a crash left behind: prepared transactions of ours and runs that never ended."""
        from circle_migrate.commands.recover import recover as action

        deployment = await call.ready(call.deployment())
        return await action(deployment, dry_run=dry_run, notify=call.notify())


def _backing(
    deployment: Deployment, folder: Path | None, encrypt_to: str | None, *, no_backup: bool
) -> BackupPolicy:
    """Whether a downgrade backs up the databases first. Raises `UsageError` for both yes and no."""
    from circle_migrate.commands.backup import BackupOptions
    from circle_migrate.commands.downgrade_backup import FOLDER, BackupPolicy, BackupWhen

    if no_backup and (folder or encrypt_to):
        raise UsageError("--no-backup was given, and how to make one", hint="leave one of them out")
    keeping = BackupOptions((folder or FOLDER).absolute(), deployment.settings.pg_bin, encrypt_to)
    if no_backup:
        return BackupPolicy(BackupWhen.NEVER, keeping)
    return BackupPolicy(BackupWhen.ON_LOSS if folder is None else BackupWhen.ALWAYS, keeping)


def saved_plan(path: Path | None, target: list[str] | None, *, up: bool) -> SavedPlan | None:
    """The plan in the file, which stands for the target. Raises `UsageError` for both, or the other way."""
    if path is None:
        return None
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.revision_graph.plan import Direction

    saved = SavedPlan(path)
    if target:
        raise UsageError("a saved plan has its own targets", hint="leave out TARGET or --plan")
    if saved.direction is not (Direction.UP if up else Direction.DOWN):
        word = "downgrade" if saved.direction is Direction.DOWN else "upgrade"
        raise UsageError(f"{path} is the plan of a {word}", hint=f"circle-migrate {word} --plan {path}")
    return saved


async def _script(call: CommandContext, targets: list[str], *, up: bool) -> Result:
    from circle_migrate.commands.sql_script import script
    from circle_migrate.revision_graph.plan import Direction

    offline = all(":" in text for text in targets)
    deployment = call.files() if offline else await call.ready(call.deployment())
    return await script(deployment, targets, Direction.UP if up else Direction.DOWN)
