"""Stamp: the version table set to a target, nothing run; it says what that claims and asks first."""

from __future__ import annotations

from collections.abc import Sequence

from circle_migrate.core.events import Notify, ignore
from circle_migrate.core.moves import Moved
from circle_migrate.core.plan import Plan
from circle_migrate.deployment import Current, Deployment, refuse_same
from circle_migrate.downgrade import Confirm, same_as
from circle_migrate.guards import refuse_in_doubt
from circle_migrate.planning import mode
from circle_migrate.protection import Guard


async def stamp(
    deployment: Deployment,
    targets: Sequence[str],
    *,
    confirm: Confirm,
    purge: bool = False,
    dry_run: bool = False,
    overridden: Sequence[str] = (),
    notify: Notify = ignore,
) -> Moved:
    """Make the targets count as applied after `confirm` has agreed to the claim.

    With `purge` the version table may hold revisions nobody knows; they are dropped. Protected databases are
    left alone, but for those in `overridden`. Raises the errors of `deployment` and `executor`.
    """
    guard = Guard(deployment, overridden)

    def planner(current: Current) -> Plan:
        return deployment.plan_stamp(current, targets, purge=purge)

    states = await deployment.states()
    refuse_same(states)
    current = {name: state.current for name, state in states.items()}
    plan = planner(current if purge else deployment.recognise(states))
    guard.refuse_slips(states)
    if dry_run or not plan:
        refuse_in_doubt(states)
        remarks = guard.remarks(states, plan.databases)
        return Moved("stamp", plan, mode(deployment), dry_run=dry_run, notes=remarks)
    guard.refuse(states, plan.databases)
    confirm(plan)

    from circle_migrate.executor import Options, apply

    options = Options("stamp", recognised=not purge, guard=guard)
    outcome = await apply(deployment, deployment.selected, same_as(plan, planner), notify, options)
    seconds = tuple(applied.seconds for applied in outcome.applied)
    return Moved("stamp", outcome.plan, mode(deployment), run=outcome.run, seconds=seconds)
