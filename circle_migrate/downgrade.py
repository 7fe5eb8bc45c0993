"""Downgrade: from where the databases are to a target below; it asks first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from circle_migrate import planning
from circle_migrate.core.events import Notify, ignore
from circle_migrate.core.plan import Direction, Plan
from circle_migrate.core.result import Moved
from circle_migrate.deployment import Current, Deployment
from circle_migrate.errors import Refused
from circle_migrate.guards import refuse_in_doubt
from circle_migrate.planning import Saved, agreeing

Confirm = Callable[[Plan], None]
"""Shows a plan and returns; raises `NotConfirmed` where it is not wanted."""


async def downgrade(
    deployment: Deployment,
    targets: Sequence[str],
    *,
    confirm: Confirm,
    cascade: bool = False,
    dry_run: bool = False,
    saved: Saved | None = None,
    notify: Notify = ignore,
) -> Moved:
    """Undo every revision above the targets after `confirm` has agreed to exactly that.

    Raises `Refused` where a revision of another database would be stranded, where one is irreversible, or
    where the databases have moved since the plan was confirmed.
    """
    planned = planning.planner(deployment, targets, Direction.DOWN, cascade=cascade)
    planner = agreeing(saved, deployment, planned)
    names = deployment.within_reach(Direction.DOWN)
    states = await deployment.states(names)
    plan = planner(deployment.recognise(states))
    if dry_run or not plan:
        refuse_in_doubt(states)
        return Moved("downgrade", plan, planning.mode(deployment), dry_run=dry_run)
    confirm(plan)

    from circle_migrate.executor import Options, apply

    options = Options("downgrade", allow_edited=True)
    outcome = await apply(deployment, names, same_as(plan, planner), notify, options)
    seconds = tuple(applied.seconds for applied in outcome.applied)
    mode = planning.mode(deployment)
    return Moved("downgrade", outcome.plan, mode, run=outcome.run, seconds=seconds)


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
