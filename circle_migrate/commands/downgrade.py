"""Downgrade: from where the databases are to a target below; it asks first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import CircleError
from circle_migrate.core.events import Notify, ignore
from circle_migrate.migrate.guards import refuse_in_doubt, refuse_unwritable
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.migrate.planner import Planner, ensure_same_plan
from circle_migrate.migrate.protection import Guard
from circle_migrate.migrate.result import Moved
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction, Plan
from circle_migrate.safety.losses.report import LossReport

if TYPE_CHECKING:
    from circle_migrate.commands.downgrade_backup import Backing, Decision
    from circle_migrate.commands.plan import SavedPlan
    from circle_migrate.safety.losses.find import LossCollector

Confirm = Callable[[Plan], None]
"""Shows a plan and returns; raises `NotConfirmed` where it is not wanted."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """A confirmation that is asked for what a plan takes away.

    `find` finds that out; `accept` shows it and returns, or raises `NotConfirmed` where it is not wanted.
    """

    find: Callable[[Plan], Awaitable[LossCollector]]
    accept: Callable[[LossReport], None]


@dataclass(frozen=True, slots=True)
class _Agreed:
    """The plan that was agreed to, whether there is a backup before it, and where weighed what it takes."""

    plan: Plan
    decision: Decision
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
    confirm: Confirm | Weighing,
    cascade: bool = False,
    keep: bool = False,
    backing: Backing | None = None,
    dry_run: bool = False,
    saved: SavedPlan | None = None,
    overridden: Sequence[str] = (),
    notify: Notify = ignore,
) -> Moved | LossReport:
    """Undo every revision above the targets after `confirm` has agreed to exactly that.

    Where the losses are weighed, a dry run ends with their report, and a run that would take more than was
    accepted is stopped. With `keep` what goes is put into side tables. `backing` says whether the databases
    are backed up first, under the same locks. Protected databases are left alone, but for those in
    `overridden`. Raises `Refused` for one of them, where a revision of another database would be stranded,
    where one is irreversible, or where the databases have changed since the plan was confirmed; and what a
    backup raises.
    """
    guard = Guard(deployment, overridden)
    guards = (saved.guard(deployment),) if saved else ()
    planner = Planner(deployment, targets, Direction.DOWN, cascade, guards=guards)
    names = deployment.within_reach(Direction.DOWN)
    states = await deployment.states(names)
    plan = planner(verify_identity(deployment, states))
    guard.refuse_slips(states)
    if dry_run or not plan:
        refuse_in_doubt(states)
        remarks = guard.remarks(states, plan.databases)
        if not (dry_run and isinstance(confirm, Weighing)):
            return Moved("downgrade", plan, deployment.commit_mode, dry_run=dry_run, notes=remarks)
    else:
        remarks = ()
        guard.refuse(states, plan.databases)
    agreed = await _agreed(deployment, plan, states, confirm, backing, keep=keep, dry_run=dry_run)
    if dry_run and agreed.report is not None:
        return replace(agreed.report, notes=(*remarks, *agreed.report.notes))
    planner = planner.guarded(partial(ensure_same_plan, plan))
    return await _undo(deployment, names, planner, agreed, guard, notify, keep=keep)


async def _agreed(
    deployment: Deployment,
    plan: Plan,
    states: Mapping[str, State],
    confirm: Confirm | Weighing,
    backing: Backing | None,
    *,
    keep: bool,
    dry_run: bool,
) -> _Agreed:
    """Ask; for the losses, unless what refuses the run anyway is known. A dry run only finds them."""
    from circle_migrate.commands.downgrade_backup import Backing, Decision

    backing = backing or Backing()
    if plan:
        backing.require(deployment, states)
    if not isinstance(confirm, Weighing):
        confirm(plan)
        return _Agreed(plan, backing.decide(deployment, states, lossy=False))
    refuse_in_doubt(states)
    for name in () if dry_run else plan.databases:
        refuse_unwritable(states[name])
    from circle_migrate.safety.losses.count import loss_report

    collector = await confirm.find(plan)
    report = await loss_report(deployment, collector)
    if keep:
        from circle_migrate.safety.losses.keepable import refuse_without_key

        await refuse_without_key(deployment, report)
    lossy = bool(report.destroyed) and not keep
    decision = backing.decide(deployment, states, lossy=lossy) if plan else Decision()
    report = replace(report, notes=(*report.notes, *filter(None, [decision.sentence])))
    if not dry_run:
        confirm.accept(report)
    return _Agreed(plan, decision, collector, report)


async def _undo(
    deployment: Deployment,
    names: tuple[str, ...],
    planner: Planner,
    agreed: _Agreed,
    guard: Guard,
    notify: Notify,
    *,
    keep: bool,
) -> Moved:
    from circle_migrate.commands.downgrade_backup import BackupHooks
    from circle_migrate.migrate.executor import Options, apply
    from circle_migrate.migrate.kept_data.hooks import KeepingHooks
    from circle_migrate.migrate.run import Together
    from circle_migrate.safety.losses.growth_guard import GrowthHooks

    notes = agreed.notes
    keeping = KeepingHooks() if keep else None
    backup = BackupHooks(agreed.decision.keeping, notes) if agreed.decision.keeping else None
    growth = None
    if agreed.collector is not None and agreed.report is not None and not keep:  # what is kept is no loss
        growth = GrowthHooks(agreed.collector, agreed.report)
    # Again after a backup, which takes its time, and does not have what is written meanwhile.
    hooks = Together(*filter(None, (keeping, growth, backup, growth if backup else None)))
    options = Options("downgrade", allow_edited=True, hooks=hooks, guard=guard, notes=notes)
    try:
        outcome = await apply(deployment, names, planner, notify, options)
    except CircleError as error:
        if backup is not None and backup.way_back is not None:
            made = f"the backup that was made before is {backup.way_back.manifest}"
            error.state = "; ".join(filter(None, (error.state, made)))
        raise
    return Moved(
        "downgrade",
        outcome.plan,
        deployment.commit_mode,
        run=outcome.run,
        seconds=tuple(applied.seconds for applied in outcome.applied),
        kept=keeping.kept if keeping else (),
        way_back=backup.way_back if backup else None,
    )
