"""Downgrade: from where the databases are to a target below; it asks first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.events import Notify, discard
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_writable
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.migrate.planner import Planner, ensure_same_plan
from circle_migrate.migrate.protection import ProtectionGuard
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan
from circle_migrate.safety.losses.report import LossReport

if TYPE_CHECKING:
    from circle_migrate.commands.downgrade_backup import BackupDecision, BackupPolicy
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.safety.losses.find import LossCollector

Confirm = Callable[[Plan], None]
"""Shows a plan and returns; raises `NotConfirmed` where it is not wanted."""


@dataclass(frozen=True, slots=True)
class LossConfirmation:
    """A confirmation that is asked for what a plan takes away.

    `find` finds that out; `accept` shows it and returns, or raises `NotConfirmed` where it is not wanted.
    """

    find: Callable[[Plan], Awaitable[LossCollector]]
    accept: Callable[[LossReport], None]


@dataclass(frozen=True, slots=True)
class ConfirmedDowngrade:
    """The plan that was agreed to, whether there is a backup before it, and where weighed what it takes."""

    plan: Plan
    decision: BackupDecision
    collector: LossCollector | None = None
    report: LossReport | None = None

    @property
    def notes(self) -> dict[str, object]:
        """What the journal keeps of it."""
        notes: dict[str, object] = {}
        if self.report is not None and self.report.destroyed:
            notes["losses"] = self.report.to_dict()
        if self.decision.why_not:
            notes["backup"] = {"none": self.decision.why_not}
        return notes


async def downgrade(
    deployment: Deployment,
    targets: Sequence[str],
    *,
    confirm: Confirm | LossConfirmation,
    cascade: bool = False,
    keep: bool = False,
    backing: BackupPolicy | None = None,
    dry_run: bool = False,
    saved: SavedPlan | None = None,
    overridden: Sequence[str] = (),
    notify: Notify = discard,
) -> MigrationResult | LossReport:
    """Undo every revision above the targets after `confirm` has agreed to exactly that.

    Where the losses are weighed, a dry run ends with their report, and a run that would take more than was
    accepted is stopped. With `keep` what goes is put into side tables. `backing` says whether the databases
    are backed up first, under the same locks. Protected databases are left alone, but for those in
    `overridden`. Raises `Refused` for one of them, where a revision of another database would be stranded,
    where one is irreversible, or where the databases have changed since the plan was confirmed; and what a
    backup raises.
    """
    guard = ProtectionGuard(deployment, overridden)
    guards = (saved.guard(deployment),) if saved else ()
    planner = Planner(deployment, targets, Direction.DOWN, cascade, guards=guards)
    names = deployment.reachable_databases(Direction.DOWN)
    states = await deployment.states(names)
    plan = planner(verify_identity(deployment, states))
    guard.check_override_names(states)
    if dry_run or not plan:
        ensure_not_in_doubt(states)
        remarks = guard.protection_notes(states, plan.databases)
        if not (dry_run and isinstance(confirm, LossConfirmation)):
            return MigrationResult("downgrade", plan, deployment.commit_mode, dry_run=dry_run, notes=remarks)
    else:
        remarks = ()
        guard.ensure_unprotected(states, plan.databases)
    agreed = await _confirm(deployment, plan, states, confirm, backing, keep=keep, dry_run=dry_run)
    if dry_run and agreed.report is not None:
        return replace(agreed.report, notes=(*remarks, *agreed.report.notes))
    planner = planner.guarded(partial(ensure_same_plan, plan))
    return await _execute(deployment, names, planner, agreed, guard, notify, keep=keep)


async def _confirm(
    deployment: Deployment,
    plan: Plan,
    states: Mapping[str, State],
    confirm: Confirm | LossConfirmation,
    backing: BackupPolicy | None,
    *,
    keep: bool,
    dry_run: bool,
) -> ConfirmedDowngrade:
    """Ask; for the losses, unless what refuses the run anyway is known. A dry run only finds them."""
    from circle_migrate.commands.downgrade_backup import BackupDecision, BackupPolicy

    backing = backing or BackupPolicy()
    if plan:
        backing.require(deployment, states)
    if not isinstance(confirm, LossConfirmation):
        confirm(plan)
        return ConfirmedDowngrade(plan, backing.decide(deployment, states, lossy=False))
    ensure_not_in_doubt(states)
    for name in () if dry_run else plan.databases:
        ensure_writable(states[name])
    from circle_migrate.safety.losses.count import loss_report

    collector = await confirm.find(plan)
    report = await loss_report(deployment, collector)
    if keep:
        from circle_migrate.safety.losses.keepable import ensure_key

        await ensure_key(deployment, report)
    lossy = bool(report.destroyed) and not keep
    decision = backing.decide(deployment, states, lossy=lossy) if plan else BackupDecision()
    report = replace(report, notes=(*report.notes, *filter(None, [decision.explanation])))
    if not dry_run:
        confirm.accept(report)
    return ConfirmedDowngrade(plan, decision, collector, report)


async def _execute(
    deployment: Deployment,
    names: tuple[str, ...],
    planner: Planner,
    agreed: ConfirmedDowngrade,
    guard: ProtectionGuard,
    notify: Notify,
    *,
    keep: bool,
) -> MigrationResult:
    from circle_migrate.commands.downgrade_backup import BackupHooks
    from circle_migrate.migrate.executor import RunOptions, execute
    from circle_migrate.migrate.kept_data.hooks import KeepingHooks
    from circle_migrate.migrate.run import CompositeHooks
    from circle_migrate.safety.losses.growth_guard import GrowthHooks

    notes = agreed.notes
    keeping = KeepingHooks() if keep else None
    backup = BackupHooks(agreed.decision.keeping, notes) if agreed.decision.keeping else None
    growth = None
    if agreed.collector is not None and agreed.report is not None and not keep:  # what is kept is no loss
        growth = GrowthHooks(agreed.collector, agreed.report)
    # Again after a backup, which takes its time, and does not have what is written meanwhile.
    hooks = CompositeHooks(*filter(None, (keeping, growth, backup, growth if backup else None)))
    options = RunOptions("downgrade", allow_edited=True, hooks=hooks, guard=guard, notes=notes)
    try:
        outcome = await execute(deployment, names, planner, notify, options)
    except MigrateError as error:
        if backup is not None and backup.way_back is not None:
            made = f"the backup that was made before is {backup.way_back.manifest}"
            error.state = "; ".join(filter(None, (error.state, made)))
        raise
    return MigrationResult(
        "downgrade",
        outcome.plan,
        deployment.commit_mode,
        run=outcome.run,
        seconds=tuple(applied.seconds for applied in outcome.applied),
        kept=keeping.kept if keeping else (),
        restore_instructions=backup.way_back if backup else None,
    )
