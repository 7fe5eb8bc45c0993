"""Plans: steps in one order over all databases, cut into segments. No database is read.

An upgrade applies a revision after its parents and its requirements in other databases; a downgrade runs in
the reverse order. A plan has the current revisions it was made from, so that a change since then is detected.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from circle_migrate.core.errors import Refused
from circle_migrate.revision_graph.action import (
    Action,
    Direction,
    Stamp,
    Step,
    downgrade_actions,
    steps_of,
    upgrade_actions,
)
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.traversal import closure

__all__ = ("Action", "Direction", "Stamp", "Step")  # besides what is defined here: plans consist of them


class ExcludedDatabase(Refused):
    """A step needs a database that was not read: --database excludes it."""


class TransactionMode(StrEnum):
    """The steps that share a transaction: as many as possible, or those of one revision."""

    ALL = "all"
    PER_REVISION = "per-revision"


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive actions that share one transaction per database, or one action without a transaction.

    `end_reason` says why the next action is not in it; it is empty for the last segment.
    """

    actions: tuple[Action, ...]
    transactional: bool
    end_reason: str = ""

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases of its actions, in order of first use."""
        return tuple(dict.fromkeys(action.database for action in self.actions))


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions from `current` revisions to those of `after`; false where there is nothing to do.

    `added_dependencies` are revisions that others require in databases without a target, `targeted` the
    databases with one; empty where the targets are not known.
    """

    current: Mapping[str, tuple[str, ...]]
    after: Mapping[str, tuple[str, ...]]
    segments: tuple[Segment, ...] = ()
    added_dependencies: tuple[Revision, ...] = ()
    targeted: tuple[str, ...] = ()

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions in the order in which they run."""
        return tuple(action for segment in self.segments for action in segment.actions)

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases with actions, in the order of the deployment."""
        names = {action.database for action in self.actions}
        return tuple(name for name in self.current if name in names)

    def steps(self, database: str) -> tuple[Step, ...]:
        """Return the steps of one database."""
        return tuple(a for a in self.actions if isinstance(a, Step) and a.database == database)

    def part(self, database: str) -> "Plan":
        """Return the plan of one database, with as many segments, so that their numbers hold."""
        segments = []
        for segment in self.segments:
            actions = tuple(action for action in segment.actions if action.database == database)
            segments.append(
                replace(segment, actions=actions, transactional=segment.transactional or not actions)
            )
        current, after = {database: self.current[database]}, {database: self.after[database]}
        return replace(self, current=current, after=after, segments=tuple(segments))

    def __bool__(self) -> bool:
        return bool(self.segments)


def plan_upgrade(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    wanted: Mapping[str, set[str]],
    transaction_mode: TransactionMode = TransactionMode.ALL,
) -> Plan:
    """Plan the steps that apply the `wanted` revisions of databases with a target, and their requirements.

    Raises `ExcludedDatabase` for a step that requires a revision of a database that is not in `current`.
    """
    applied = _applied(graph, current)
    targets = {f"{name}@{key}" for name, keys in wanted.items() for key in keys}
    # The parents of an applied revision are applied; its requirements in other databases may not be.
    needed = graph.with_dependencies((targets - applied) | graph.requirements(targets)) - applied
    if outside := _outside(needed, current):
        needed -= set(outside)
        # In databases that are not read, what applied revisions require counts as applied.
        by_steps = closure(targets - applied, lambda name: [] if name in applied else graph.parents(name))
        if outside := _outside(by_steps, current):
            raise ExcludedDatabase(
                f"the upgrade requires {', '.join(outside)}, in a database that --database excludes",
                database=outside[0].partition("@")[0],
                hint="leave out --database, or upgrade that database first",
            )
    actions = upgrade_actions(graph, current, needed)
    added = (step.revision for step in steps_of(actions) if step.database not in wanted)
    return _plan(graph, current, applied | needed, actions, transaction_mode, added)


def plan_exactly(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    revisions: Collection[str],
    transaction_mode: TransactionMode = TransactionMode.ALL,
) -> Plan:
    """Plan the steps that apply `revisions`, given as `database@id`, without their requirements.

    A squashed revision runs, whether or not `revisions` has those that it replaces. Where it has only these,
    and a file of them is gone, it runs, too, and the last of them is recorded.
    """
    applied = _applied(graph, current)
    missing = set(revisions) - applied
    instead = []
    for name, of_database in graph.graphs.items():
        for key, squashed in of_database.squashes.revisions.items():
            replaced = {f"{name}@{each}" for each in squashed.replaces}
            if f"{name}@{key}" in missing and not replaced & applied:
                missing |= replaced
            elif replaced <= missing and of_database.squashes.missing.intersection(squashed.replaces):
                instead.append(Stamp(name, (squashed.replaces[-1],), disowned=(squashed,)))
    run = missing | {stamp.disowned[0].qualified for stamp in instead}
    actions = [*upgrade_actions(graph, current, run, squashed=True), *instead]
    return _plan(graph, current, applied | missing, actions, transaction_mode)


def plan_downgrade(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    undone: Mapping[str, set[str]],
    transaction_mode: TransactionMode = TransactionMode.ALL,
    *,
    cascade: bool = False,
) -> Plan:
    """Plan the steps that undo revisions, with `cascade` also those that require them in other databases.

    Raises `Refused` where such a revision is applied and `cascade` is off, and for an irreversible revision;
    `ExcludedDatabase` where it is in a database that is not in `current`.
    """
    applied = _applied(graph, current)
    targets = {f"{name}@{key}" for name, keys in undone.items() for key in keys}
    for name, keys in undone.items():
        with_recorded = graph.graphs[name].applied(current[name])
        recorded = with_recorded - graph.graphs[name].ancestors(current[name])
        ended = {key for key in recorded if keys.intersection(graph.graphs[name][key].replaces)}
        targets |= {f"{name}@{key}" for key in ended}
        applied |= {f"{name}@{key}" for key in recorded}
    if outside := _outside(graph.with_dependents(targets & applied), current):
        raise ExcludedDatabase(
            f"the downgrade undoes what {', '.join(outside)} requires,"
            " in a database that --database excludes",
            database=outside[0].partition("@")[0],
            hint="leave out --database, or downgrade that database first",
        )
    to_undo = graph.with_dependents(targets) & applied
    order = graph.order(to_undo)
    dependents = [name for name in order if name not in targets]
    if dependents and not cascade:
        pairs = ((name, need) for name in dependents for need in graph.requires.get(name, ()))
        dependent, requirement = next(pair for pair in pairs if pair[1] in to_undo)
        more = f" and {len(dependents) - 1} more" if len(dependents) > 1 else ""
        raise Refused(
            f"to undo {requirement}, {dependent}{more} must be undone too: {dependent} requires it",
            database=dependent.partition("@")[0],
            hint="add --cascade to undo those as well, or downgrade that database first",
        )
    actions = downgrade_actions(graph, current, order[::-1])
    for revision in (step.revision for step in steps_of(actions)):
        if revision.irreversible is not None or not revision.has_downgrade:
            raise Refused(
                f"revision {revision.id} ({revision.message}) cannot be undone: "
                + (revision.irreversible or "it has no downgrade()"),
                database=revision.database,
                location=revision.location,
            )
    added = (step.revision for step in steps_of(actions) if step.revision.qualified not in targets)
    return _plan(graph, current, applied - to_undo, actions, transaction_mode, added)


def plan_stamp(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    claims: Mapping[str, set[str]],
    *,
    purge: bool = False,
) -> Plan:
    """Plan the version rows with which exactly `claims` count as applied, whatever the schema is."""
    stamps = []
    after = dict(current)
    for name, claim in claims.items():
        database_graph = graph.graphs[name]
        applied = database_graph.ancestors(key for key in current[name] if key in database_graph)
        heads = database_graph.version_rows(claim)
        after[name] = heads
        if purge or set(heads) != set(current[name]):
            claimed = tuple(database_graph[key] for key in database_graph.sorted(claim - applied))
            disowned = tuple(database_graph[key] for key in database_graph.sorted(applied - claim))
            stamps.append(Stamp(name, heads, claimed, disowned, purge))
    segments = (Segment(tuple(stamps), transactional=True),) if stamps else ()
    return Plan(dict(current), after, segments)


def plan_without_changes(databases: Iterable[str], current: Mapping[str, tuple[str, ...]]) -> Plan:
    """Plan a run that changes no revision, for hooks that work in a transaction of every database."""
    stamps = tuple(Stamp(name, current[name]) for name in databases)
    return Plan(dict(current), dict(current), (Segment(stamps, transactional=True),))


def _outside(names: Iterable[str], current: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the revisions, sorted, of databases whose current revisions are not known."""
    return sorted(name for name in names if name.partition("@")[0] not in current)


def _applied(graph: CombinedGraph, current: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {f"{name}@{key}" for name, rows in current.items() for key in graph.graphs[name].ancestors(rows)}


def _plan(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    applied: set[str],
    actions: Sequence[Action],
    transaction_mode: TransactionMode,
    added_dependencies: Iterable[Revision] = (),
) -> Plan:
    keys: dict[str, set[str]] = {name: set() for name in current}
    for qualified in applied:
        name, _, key = qualified.partition("@")
        keys[name].add(key)
    after = {name: graph.graphs[name].version_rows(applied_keys) for name, applied_keys in keys.items()}
    return Plan(dict(current), after, _segments(actions, transaction_mode), tuple(added_dependencies))


def _segments(actions: Sequence[Action], transaction_mode: TransactionMode) -> tuple[Segment, ...]:
    """Cut the actions into segments where two of them cannot or should not share a transaction."""
    segments = []
    start = 0
    for end, action in enumerate(actions, 1):
        reason = _end_reason(action, actions[end], transaction_mode) if end < len(actions) else ""
        if reason or end == len(actions):
            transactional = isinstance(action, Stamp) or action.revision.non_transactional_reason is None
            segments.append(Segment(tuple(actions[start:end]), transactional, reason))
            start = end
    return tuple(segments)


def _end_reason(before: Action, after: Action, transaction_mode: TransactionMode) -> str:
    """Return why the two actions cannot share a transaction; empty where they can."""
    for step in steps_of((before, after)):
        if step.revision.non_transactional_reason is not None:
            return f"{step.revision.id} cannot run in a transaction: {step.revision.non_transactional_reason}"
    is_upgrade = before.direction is Direction.UP
    if is_upgrade and isinstance(before, Step) and before.revision.commit_after_reason is not None:
        return f"{before.revision.id} must be committed first: {before.revision.commit_after_reason}"
    if transaction_mode is TransactionMode.PER_REVISION:
        return "every revision has its own transaction (per-revision)"
    return ""
