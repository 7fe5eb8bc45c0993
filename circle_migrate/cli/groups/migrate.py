"""The commands init, upgrade, downgrade, plan and recover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from circle_migrate.cli import options as shared
from circle_migrate.cli.command import command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.options import LOSSES, RUN, SIZES, Format, flag, option
from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result

if TYPE_CHECKING:
    from circle_migrate.commands.downgrade import BackupPolicy
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.gate import SafetyGate
    from circle_migrate.safety.hazards.hazard import HazardClass
    from circle_migrate.safety.result import SafetyReport

_PANEL = "Migrate"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""

    @command(app, panel=_PANEL, options=RUN)
    async def init(context: CommandContext) -> Result:
        """Create missing databases and upgrade them to head."""
        from circle_migrate.commands.upgrade import initialise
        from circle_migrate.postgres.create_database import create_missing

        deployment = context.deployment()
        return await initialise(deployment, await create_missing(deployment), context.progress)

    @command(app, panel=_PANEL, options=(*RUN, "safety", *SIZES), negative_arguments=True)
    async def upgrade(
        context: CommandContext,
        target: list[str] | None = shared.targets(show_default="head"),
        dry_run: bool = shared.DRY_RUN,
        sql: bool = shared.SQL,
        plan: Path | None = shared.PLAN_FILE,
        into_existing: bool = shared.INTO_EXISTING,
        allow_edited: bool = flag("--allow-edited", "Run although files of applied revisions have changed."),
        allow: list[str] | None = option(
            "CLASS", "Allow dangers of this class, for example data-loss. Repeatable."
        ),
        no_restore_kept: bool = flag(
            "--no-restore-kept", "Do not restore the rows that `downgrade --keep` kept."
        ),
    ) -> Result:
        """Apply pending revisions up to head or to TARGET.

        The transactions on all databases stay open until every step on each has succeeded.
        """
        saved = _saved_plan(plan, target, "upgrade")
        targets = saved.targets if saved else target or ["head"]
        if sql:
            return await _script(context, targets, "up")
        from circle_migrate.commands.upgrade import upgrade as action

        deployment = await context.ready()
        return await action(
            deployment,
            targets,
            dry_run=dry_run,
            into_existing=into_existing,
            allow_edited=allow_edited,
            saved=saved,
            gate=_gate(context, deployment, allow or ()),
            restore_kept=not no_restore_kept,
            notify=context.progress,
        )

    @command(app, panel=_PANEL, options=(*RUN, "pg_bin"), formats=LOSSES, negative_arguments=True)
    async def downgrade(
        context: CommandContext,
        target: list[str] | None = shared.targets(),
        dry_run: bool = shared.DRY_RUN,
        sql: bool = shared.SQL,
        yes: bool = shared.YES,
        accept_loss: list[str] | None = option(
            "NAME", "Accept the loss with this name in the report. Repeatable."
        ),
        plan: Path | None = shared.PLAN_FILE,
        cascade: bool = shared.CASCADE,
        keep: bool = flag("--keep", "Keep lost rows in side tables; the next upgrade restores them."),
        backup: Path | None = option(
            "DIR",
            "Back up all databases to a new folder in DIR first. The default is backups/, "
            "where data is lost and pg_dump is available.",
        ),
        no_backup: bool = flag("--no-backup", "Make no backup; the journal records this."),
        encrypt_to: str | None = shared.ENCRYPT_TO,
        rehearse: bool = flag(
            "--rehearse", "Find losses by a run on the live databases that is rolled back."
        ),
        rehearse_timeout: float = option(
            "SECONDS", "Limit the rehearsal, which blocks other sessions.", default=5.0, min=0.1
        ),
        override_protection: list[str] | None = shared.OVERRIDE_PROTECTION,
    ) -> Result:
        """Undo every revision above TARGET. Shows the losses and asks first.

        --dry-run only shows the losses. Exit status 5 where there are any.
        """
        saved = _saved_plan(plan, target, "downgrade")
        targets = saved.targets if saved else target
        if not targets:
            raise UsageError(
                "a downgrade needs a target", hint="give -1, base, a revision id, or --plan FILE"
            )
        if sql:
            return await _script(context, targets, "down")
        if context.format is Format.MARKDOWN and not dry_run:
            raise UsageError("--format markdown needs --dry-run", hint="add --dry-run, or leave out --format")
        from circle_migrate.cli.confirm import accept_losses
        from circle_migrate.commands.downgrade import LossConfirmation
        from circle_migrate.commands.downgrade import downgrade as action
        from circle_migrate.safety.losses.find import find_losses

        deployment = await context.ready()
        find = partial(
            find_losses, deployment, rehearse=rehearse, seconds=rehearse_timeout, notify=context.progress
        )
        accept = partial(accept_losses, accept_loss or (), yes=yes, keep=keep)
        return await action(
            deployment,
            targets,
            confirm=LossConfirmation(find, accept),
            cascade=saved.cascade if saved else cascade,
            keep=keep,
            backing=_backup_policy(deployment, backup, encrypt_to, no_backup=no_backup),
            dry_run=dry_run,
            saved=saved,
            overridden=override_protection or (),
            notify=context.progress,
        )

    @command(app, panel=_PANEL, options=("atomic", "transaction"), negative_arguments=True)
    async def plan(
        context: CommandContext,
        target: list[str] | None = shared.targets(),
        down: bool = shared.DOWN,
        output: Path | None = option("FILE", "Save the plan for --plan FILE.", "--output", "-o"),
        cascade: bool = shared.CASCADE,
        into_existing: bool = shared.INTO_EXISTING,
    ) -> Result:
        """Show the steps, their transactions, and why each transaction ends."""
        from circle_migrate.commands.plan import plan as action
        from circle_migrate.commands.plan import save
        from circle_migrate.revision_graph.plan import Direction

        if down and not target:
            raise UsageError("a downgrade needs a target", hint="give -1, base or a revision id")
        targets = target or ["head"]
        direction = Direction.DOWN if down else Direction.UP
        deployment = await context.ready()
        result = await action(deployment, targets, direction, cascade=cascade, into_existing=into_existing)
        if output is None:
            return result
        save(result, targets, direction, output, cascade=cascade)
        return replace(result, file=str(output))

    @command(app, panel=_PANEL, options=("lock_wait",))
    async def recover(context: CommandContext, dry_run: bool = shared.DRY_RUN) -> Result:
        """Finish prepared transactions and mark unfinished runs after a crash."""
        from circle_migrate.commands.recover import recover as action

        return await action(await context.ready(), dry_run=dry_run, notify=context.progress)


def _backup_policy(
    deployment: Deployment, folder: Path | None, encrypt_to: str | None, *, no_backup: bool
) -> BackupPolicy:
    """Return when to back up the databases. Raises `UsageError` for contradicting options."""
    from circle_migrate.commands.backup import BackupOptions
    from circle_migrate.commands.downgrade import DEFAULT_FOLDER, BackupPolicy, BackupWhen

    if no_backup and (folder or encrypt_to):
        raise UsageError(
            "--no-backup contradicts --backup and --encrypt-to", hint="leave out --no-backup or the others"
        )
    options = BackupOptions((folder or DEFAULT_FOLDER).absolute(), deployment.settings.pg_bin, encrypt_to)
    if no_backup:
        return BackupPolicy(BackupWhen.NEVER, options)
    return BackupPolicy(BackupWhen.ON_LOSS if folder is None else BackupWhen.ALWAYS, options)


def _saved_plan(path: Path | None, target: list[str] | None, command_name: str) -> SavedPlan | None:
    """Load a plan. Raises `UsageError` for a target beside it, and for the plan of the other command."""
    if path is None:
        return None
    from circle_migrate.commands.plan import SavedPlan

    saved = SavedPlan(path)
    if target:
        raise UsageError("a saved plan has its own targets", hint="leave out TARGET or --plan")
    name = "downgrade" if saved.direction == "down" else "upgrade"
    if name != command_name:
        raise UsageError(f"{path} is the plan of a {name}", hint=f"circle-migrate {name} --plan {path}")
    return saved


async def _script(context: CommandContext, targets: list[str], direction: str) -> Result:
    from circle_migrate.commands.sql_script import script
    from circle_migrate.revision_graph.plan import Direction

    offline = all(":" in target for target in targets)
    return await script(context.files() if offline else await context.ready(), targets, Direction(direction))


def _gate(context: CommandContext, deployment: Deployment, allow: Sequence[str]) -> SafetyGate | None:
    """Return the gate, or None for `--safety off`. Raises `UsageError` for an unknown hazard class."""
    mode = deployment.settings.safety
    if mode == "off":
        if allow:
            raise UsageError("--allow has no effect with --safety off", hint="add --safety require")
        return None
    from circle_migrate.safety.gate import SafetyGate

    allowed = frozenset(map(_hazard_class, allow))

    def show(report: SafetyReport) -> None:
        for line in _warnings(report, allowed):
            context.progress.warn(line)

    def say(text: str) -> None:
        context.progress.say(f"safety: {text}")

    return SafetyGate(deployment, mode == "require", allowed, show, say)


def _hazard_class(name: str) -> HazardClass:
    from circle_migrate.safety.hazards.hazard import HazardClass

    try:
        return HazardClass(name)
    except ValueError:
        raise UsageError(
            f"there is no hazard class {name!r}", hint="classes: " + ", ".join(HazardClass)
        ) from None


def _warnings(report: SafetyReport, allowed: frozenset[HazardClass]) -> list[str]:
    """Return the report's warnings, and dangers that are not allowed, without alternative code."""
    from circle_migrate.cli.console import console
    from circle_migrate.cli.render.report import write_finding
    from circle_migrate.cli.render.safety import write_hazard
    from circle_migrate.core.findings import Severity
    from circle_migrate.safety.result import HazardFinding

    buffer = StringIO()
    screen = console(buffer)
    for finding in report.findings:
        if finding.severity is Severity.NOTE:
            continue
        if not isinstance(finding, HazardFinding):
            write_finding(finding, screen)
        elif finding.hazard.kind not in allowed:
            write_hazard(finding, screen)
    lines = buffer.getvalue().splitlines()
    return [f"safety: {report.coverage.description}", *lines] if lines else []
