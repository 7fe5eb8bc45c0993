"""Plan from current revisions to targets, and refuse a plan that is not the expected one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from circle_migrate.core.errors import Refused, SettingsError, UsageError
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.plan import (
    Direction,
    ExcludedDatabase,
    Plan,
    Step,
    plan_downgrade,
    plan_stamp,
    plan_upgrade,
)

PlanGuard = Callable[[Plan], None]
"""Raises `Refused` for a plan that must not run."""


@dataclass(frozen=True, slots=True)
class Planner:
    """A function from current revisions to a plan that leads to the targets, in one direction.

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
        """Plan over the databases in `current`. Raises `UsageError`, and the errors of plans and guards."""
        try:
            plan = replace(self._plan(current), targeted=self._targeted())
        except ExcludedDatabase as error:
            self._ensure_url(error)
            raise
        for guard in self.guards:
            guard(plan)
        return plan

    def guarded(self, guard: PlanGuard) -> Self:
        """Return the same planner with one more guard."""
        return replace(self, guards=(*self.guards, guard))

    def _ensure_url(self, error: ExcludedDatabase) -> None:
        """Raise `SettingsError` if the database was not read because it has no URL."""
        try:
            _ = self.deployment.databases[error.database or ""].address
        except SettingsError as missing:
            missing.detail = error.message
            raise missing from None

    def _targeted(self) -> tuple[str, ...]:
        """Return the databases that the targets name."""
        graphs = self.deployment.graphs
        names = {name for text in self.targets for name in targets.assign([text], graphs)}
        return tuple(name for name in graphs if name in names)

    def _plan(self, current: Current) -> Plan:
        graph, graphs = self.deployment.combined_graph, self.deployment.graphs
        if self.direction is Direction.STAMP:
            claims: dict[str, set[str]] = {}
            for text in self.targets:  # a database has several current revisions on several branches
                for name, target in targets.assign([text], graphs).items():
                    known = tuple(key for key in current[name] if key in graphs[name])
                    claims.setdefault(name, set()).update(targets.stamp_set(graphs[name], known, target))
            return plan_stamp(graph, current, claims, purge=self.purge)
        assigned = targets.assign(self.targets, graphs).items()
        mode = self.deployment.transaction_mode
        if self.direction is Direction.DOWN:
            undone = {name: targets.downgrade_set(graphs[name], current[name], to) for name, to in assigned}
            return plan_downgrade(graph, current, undone, mode, cascade=self.cascade)
        self.deployment.ensure_revisions()
        if all(targets.is_top(graphs[name], to) for name, to in assigned) and self._is_current(current):
            return Plan(dict(current), {name: graph.graphs[name].effective_heads for name in current})
        wanted = {name: targets.upgrade_set(graphs[name], current[name], to) for name, to in assigned}
        return plan_upgrade(graph, current, wanted, mode)

    def _is_current(self, current: Current) -> bool:
        """Return whether `current` has all databases, at their heads."""
        graphs = self.deployment.combined_graph.graphs
        heads = {name: graph.effective_heads for name, graph in graphs.items()}
        return heads.keys() == current.keys() and all(set(rows) == {*heads[n]} for n, rows in current.items())


def ensure_same_plan(confirmed: Plan, plan: Plan) -> None:
    """Raise `Refused` where the plan is not the one that was confirmed."""
    if plan != confirmed:
        raise _changed_plan_error()


def ensure_no_new_steps(assessed: Plan, plan: Plan) -> None:
    """Raise `Refused` where the plan has a step that was not assessed; it may have fewer steps."""
    if not _steps(plan) <= _steps(assessed):
        raise _changed_plan_error()


def _steps(plan: Plan) -> set[str]:
    return {action.revision.qualified for action in plan.actions if isinstance(action, Step)}


def _changed_plan_error() -> Refused:
    return Refused(
        "the databases have changed since the plan was made",
        hint="run the command again to see the new plan",
    )


def plan_offline(deployment: Deployment, ranges: Sequence[str], direction: Direction) -> Plan:
    """Plan for ranges `FROM:TO`, without a server. Raises `UsageError` for a text that is not a range."""
    starts, ends = [], []
    for text in ranges:
        start, _, end = text.rpartition(":")
        if not start or not end:
            raise UsageError(f"{text} is not a range", hint="write FROM:TO, for example base:head")
        database = targets.parse(start, deployment.databases).database
        if database and targets.parse(end, deployment.databases).database is None:
            end = f"{database}@{end}"
        starts.append(start)
        ends.append(end)
    graphs = deployment.graphs
    current: dict[str, tuple[str, ...]] = dict.fromkeys(deployment.databases, ())
    if direction is Direction.UP:  # databases without a range are assumed to be up to date
        current = {name: graph.effective_heads for name, graph in deployment.combined_graph.graphs.items()}
    for name, target in targets.assign(starts, graphs).items():
        current[name] = graphs[name].version_rows(targets.stamp_set(graphs[name], (), target))
        if target.symbol in graphs[name].squashes.ends and not target.steps:
            current[name] = (target.symbol,)  # the row of the last replaced revision, not of the squashed one
    plan = Planner(deployment, ends, direction)(current)
    if direction is Direction.DOWN:
        return plan
    for name, target in targets.assign(ends, graphs).items():
        reached = graphs[name].version_rows(targets.stamp_set(graphs[name], current[name], target))
        if name not in plan.databases and set(reached) != set(current[name]):
            raise UsageError(
                f"{name}: no upgrade leads from FROM to TO in {' '.join(ranges)}",
                database=name,
                hint="for the opposite direction type `circle-migrate downgrade FROM:TO --sql`",
            )
    return plan
