"""Plan from current revisions to targets, and refuse a plan that is not the expected one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.plan import Direction, Plan, Step, plan_downgrade, plan_stamp, plan_upgrade

PlanGuard = Callable[[Plan], None]
"""Raises `Refused` for a plan that must not run."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Plan to the targets, in one direction; call it with the current revisions.

    A downgrade with `cascade` also undoes the revisions of other databases that require an undone one. A
    stamp with `purge` drops version rows that no tree has. Every guard checks every plan.
    """

    deployment: Deployment
    targets: Sequence[str]
    direction: Direction
    cascade: bool = False
    purge: bool = False
    guards: tuple[PlanGuard, ...] = ()

    def __call__(self, current: Current) -> Plan:
        """Plan over the databases in `current`.

        Raises `UsageError` for a target that is none here, the errors of `core.plan` and of the guards.
        """
        plan = self._plan(current)
        for guard in self.guards:
            guard(plan)
        return plan

    def guarded(self, guard: PlanGuard) -> Planner:
        """Return the same planner with one more guard."""
        return replace(self, guards=(*self.guards, guard))

    def _plan(self, current: Current) -> Plan:
        forest, graphs = self.deployment.forest, self.deployment.graphs
        assigned = targets.assign(self.targets, graphs).items()
        if self.direction is Direction.STAMP:
            claims = {}
            for name, target in assigned:
                known = tuple(key for key in current[name] if key in graphs[name])
                claims[name] = targets.stamp_set(graphs[name], known, target)
            return plan_stamp(forest, current, claims, purge=self.purge)
        grouping = self.deployment.grouping
        if self.direction is Direction.DOWN:
            unwanted = {name: targets.downgrade_set(graphs[name], current[name], to) for name, to in assigned}
            return plan_downgrade(forest, current, unwanted, grouping, cascade=self.cascade)
        if all(targets.is_top(graphs[name], to) for name, to in assigned) and self._is_current(current):
            return Plan(dict(current), {name: forest.graphs[name].effective_heads for name in current})
        wanted = {name: targets.upgrade_set(graphs[name], current[name], to) for name, to in assigned}
        return plan_upgrade(forest, current, wanted, grouping)

    def _is_current(self, current: Current) -> bool:
        """Whether `current` has all databases and no revision is pending."""
        graphs = self.deployment.forest.graphs
        return graphs.keys() == current.keys() and not any(
            graphs[name].pending(heads) for name, heads in current.items()
        )


def ensure_same_plan(confirmed: Plan, plan: Plan) -> None:
    """Raise `Refused` where the plan is not the one that was confirmed."""
    if plan != confirmed:
        raise _changed()


def ensure_no_new_steps(judged: Plan, plan: Plan) -> None:
    """Raise `Refused` where the plan has a step that was not judged; it may have fewer."""
    if not _steps(plan) <= _steps(judged):
        raise _changed()


def _steps(plan: Plan) -> set[str]:
    return {action.revision.qualified for action in plan.actions if isinstance(action, Step)}


def _changed() -> Refused:
    return Refused(
        "the databases have changed since this was planned",
        state="nothing was changed",
        hint="run the command again to see what it would do now",
    )


def plan_offline(deployment: Deployment, texts: Sequence[str], direction: Direction) -> Plan:
    """Plan for spans `FROM:TO`, which needs no server. Raises `UsageError` for what is none."""
    lows, highs = [], []
    for text in texts:
        low, colon, high = text.rpartition(":")
        if not colon or not low or not high:
            raise UsageError(f"{text!r} is not a span", hint="write FROM:TO, for example base:head")
        database = targets.parse(low, deployment.databases).database
        if database and targets.parse(high, deployment.databases).database is None:
            high = f"{database}@{high}"
        lows.append(low)
        highs.append(high)
    graphs = deployment.graphs
    current = _assumed_current(deployment, direction)
    for name, target in targets.assign(lows, graphs).items():
        current[name] = graphs[name].version_rows(targets.stamp_set(graphs[name], (), target))
    plan = Planner(deployment, highs, direction)(current)
    if direction is Direction.DOWN:
        return plan
    for name, target in targets.assign(highs, graphs).items():
        reached = graphs[name].version_rows(targets.stamp_set(graphs[name], current[name], target))
        if name not in plan.databases and set(reached) != set(current[name]):
            raise UsageError(
                f"{name}: no upgrade leads through {' '.join(texts)}",
                database=name,
                hint="for the way back: circle-migrate downgrade FROM:TO --sql",
            )
    return plan


def _assumed_current(deployment: Deployment, direction: Direction) -> dict[str, tuple[str, ...]]:
    """Assumed revisions of databases without FROM:TO: heads for up, base for down."""
    if direction is Direction.UP:
        return {name: graph.effective_heads for name, graph in deployment.forest.graphs.items()}
    return dict.fromkeys(deployment.databases, ())
