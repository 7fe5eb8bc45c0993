"""Downgrade: from where the databases are to a target below; it asks first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from circle_migrate import planning
from circle_migrate.core.events import Notify, ignore
from circle_migrate.core.losses import LossReport
from circle_migrate.core.moves import Moved
from circle_migrate.core.plan import Direction, Plan
from circle_migrate.database import State
from circle_migrate.deployment import Current, Deployment
from circle_migrate.errors import Refused
from circle_migrate.guards import refuse_in_doubt, refuse_unwritable
from circle_migrate.planning import Saved, agreeing
from circle_migrate.protection import Guard

Confirm = Callable[[Plan], None]
"""Shows a plan and returns; raises `NotConfirmed` where it is not wanted."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """A confirmation that is asked for what a plan takes away.

    `find` finds that out; `accept` shows it and returns, or raises `NotConfirmed` where it is not wanted.
    """

    find: Callable[[Plan], Awaitable[LossReport]]
    accept: Callable[[LossReport], None]


async def downgrade(
    deployment: Deployment,
    targets: Sequence[str],
    *,
    confirm: Confirm | Weighing,
    cascade: bool = False,
    keep: bool = False,
    dry_run: bool = False,
    saved: Saved | None = None,
    overridden: Sequence[str] = (),
    notify: Notify = ignore,
) -> Moved | LossReport:
    """Undo every revision above the targets after `confirm` has agreed to exactly that.

    Where the losses are weighed, a dry run ends with their report. With `keep` what goes is put into side
    tables. Protected databases are left alone, but for those in `overridden`. Raises `Refused` for one of
    them, where a revision of another database would be stranded, where one is irreversible, or where the
    databases have moved since the plan was confirmed.
    """
    guard = Guard(deployment, overridden)
    planned = planning.planner(deployment, targets, Direction.DOWN, cascade=cascade)
    planner = agreeing(saved, deployment, planned)
    names = deployment.within_reach(Direction.DOWN)
    states = await deployment.states(names)
    plan = planner(deployment.recognise(states))
    guard.refuse_slips(states)
    if dry_run or not plan:
        refuse_in_doubt(states)
        remarks = guard.remarks(states, plan.databases)
        if dry_run and isinstance(confirm, Weighing):
            found = await confirm.find(plan)
            return replace(found, notes=(*remarks, *found.notes))
        return Moved("downgrade", plan, planning.mode(deployment), dry_run=dry_run, notes=remarks)
    guard.refuse(states, plan.databases)
    report = await _confirmed(plan, states, confirm)

    from circle_migrate.executor import Options, apply
    from circle_migrate.hooks import Hooks
    from circle_migrate.keeping.hooks import KeepingHooks

    keeping = KeepingHooks()
    notes = {"losses": report.to_dict()} if report is not None and report.destroyed else {}
    hooks = keeping if keep else Hooks()
    options = Options("downgrade", allow_edited=True, hooks=hooks, guard=guard, notes=notes)
    outcome = await apply(deployment, names, same_as(plan, planner), notify, options)
    seconds = tuple(applied.seconds for applied in outcome.applied)
    mode = planning.mode(deployment)
    return Moved("downgrade", outcome.plan, mode, run=outcome.run, seconds=seconds, kept=keeping.kept)


async def _confirmed(
    plan: Plan, states: Mapping[str, State], confirm: Confirm | Weighing
) -> LossReport | None:
    """Ask; for the losses, unless what refuses the run anyway is known. What was accepted comes back."""
    if not isinstance(confirm, Weighing):
        confirm(plan)
        return None
    refuse_in_doubt(states)
    for name in plan.databases:
        refuse_unwritable(states[name])
    report = await confirm.find(plan)
    confirm.accept(report)
    return report


def same_as(confirmed: Plan, planner: Callable[[Current], Plan]) -> Callable[[Current], Plan]:
    """A planner that refuses to plan anything but what was confirmed."""

    def planned(current: Current) -> Plan:
        plan = planner(current)
        if plan != confirmed:
            raise Refused(
                "the databases have moved since this was confirmed",
                state="nothing was changed",
                hint="run the command again to see what it would do now",
            )
        return plan

    return planned
