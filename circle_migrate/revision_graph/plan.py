"""Steps, segments and the plan: one order over every database, made without touching anything.

Up, a revision comes after its parents and after what it `requires` in the other databases; down is exactly
the reverse. A plan carries the current revisions it was made from, so that whoever applies it can tell
whether the databases have moved since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from circle_migrate.core.errors import Refused
from circle_migrate.revision_graph.forest import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision


class Direction(StrEnum):
    """Which of a revision's two functions runs, or that only the version table is written."""

    UP = "up"
    DOWN = "down"
    STAMP = "stamp"


class TransactionMode(StrEnum):
    """How many steps share a transaction: as many as can, or one revision each."""

    ALL = "all"
    PER_REVISION = "per-revision"


@dataclass(frozen=True, slots=True)
class Step:
    """One revision in one direction."""

    revision: Revision
    direction: Direction

    @property
    def database(self) -> str:
        """The database the step runs on."""
        return self.revision.database

    def heads_after(self, graph: Graph, current: tuple[str, ...]) -> tuple[str, ...]:
        """The revisions current on its database once it has run."""
        moved = (
            graph.version_rows_after_upgrade
            if self.direction is Direction.UP
            else graph.version_rows_after_downgrade
        )
        return moved(current, self.revision.id)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The version table of one database set to `heads`, nothing run; `purge` drops what it cannot name."""

    database: str
    heads: tuple[str, ...]
    claimed: tuple[Revision, ...] = ()
    disowned: tuple[Revision, ...] = ()
    purge: bool = False

    direction = Direction.STAMP

    def heads_after(self, _graph: Graph, _current: tuple[str, ...]) -> tuple[str, ...]:
        """The revisions current on its database once it has run."""
        return self.heads


Action = Step | Stamp


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of actions that share one transaction per database, or one action that cannot have any.

    `ends_because` says why the next action is not in it; empty for the last segment.
    """

    actions: tuple[Action, ...]
    transactional: bool
    end_reason: str = ""

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases it touches, in order of first use."""
        return tuple(dict.fromkeys(action.database for action in self.actions))


@dataclass(frozen=True, slots=True)
class Plan:
    """What would run, in order, and from which current revisions; empty where there is nothing to do."""

    current: Mapping[str, tuple[str, ...]]
    after: Mapping[str, tuple[str, ...]]
    segments: tuple[Segment, ...] = ()
    added_dependencies: tuple[Revision, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def actions(self) -> tuple[Action, ...]:
        """Every action in the order in which it runs."""
        return tuple(action for segment in self.segments for action in segment.actions)

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases with something to do, in the order of the deployment."""
        touched = {action.database for action in self.actions}
        return tuple(name for name in self.current if name in touched)

    def steps(self, database: str) -> tuple[Step, ...]:
        """The steps of one database."""
        return tuple(a for a in self.actions if isinstance(a, Step) and a.database == database)

    def __bool__(self) -> bool:
        return bool(self.segments)


def plan_upgrade(
    forest: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    wanted: Mapping[str, set[str]],
    grouping: TransactionMode = TransactionMode.ALL,
) -> Plan:
    """The steps that make `wanted` applied, with what they require in databases nobody named.

    `current` holds every database that may be touched; a requirement in any other one must be met there
    already, which only its owner can tell, so it is refused.
    """
    applied = _applied(forest, current)
    asked = {f"{name}@{key}" for name, keys in wanted.items() for key in keys}
    # The parents of what is applied are applied too; what it requires of other databases may not be.
    needed = forest.with_dependencies((asked - applied) | forest.requirements(asked)) - applied
    outside = sorted(name for name in needed if name.partition("@")[0] not in current)
    if outside:
        raise Refused(
            f"this needs {', '.join(outside)}, in a database this command was told to leave alone",
            hint="leave out --database, or upgrade that database first",
        )
    steps = [Step(forest.revision(name), Direction.UP) for name in forest.order(needed)]
    pulled = tuple(
        s.revision for s in steps if s.revision.qualified not in asked and s.database not in wanted
    )
    return _plan(forest, current, applied | needed, steps, grouping, pulled)


def plan_exactly(
    forest: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    revisions: Collection[str],
    grouping: TransactionMode = TransactionMode.ALL,
) -> Plan:
    """Plan the steps that apply `revisions`, each `database@id`, and nothing that they require."""
    applied = _applied(forest, current)
    missing = set(revisions) - applied
    steps = [Step(forest.revision(name), Direction.UP) for name in forest.order(missing)]
    return _plan(forest, current, applied | missing, steps, grouping, ())


def plan_downgrade(
    forest: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    unwanted: Mapping[str, set[str]],
    grouping: TransactionMode = TransactionMode.ALL,
    *,
    cascade: bool = False,
) -> Plan:
    """The steps that undo `unwanted`. Raises `Refused` where that strands a revision of another database.

    With `cascade` such revisions are undone as well. A revision that declares itself irreversible stops the
    plan with its reason.
    """
    applied = _applied(forest, current)
    asked = {f"{name}@{key}" for name, keys in unwanted.items() for key in keys}
    doomed = forest.with_dependents(asked) & applied
    stranded = [name for name in forest.order(doomed) if name not in asked]
    if stranded and not cascade:
        raise _dependents(forest, stranded, doomed)
    steps = [Step(forest.revision(name), Direction.DOWN) for name in reversed(forest.order(doomed))]
    for step in steps:
        _refuse_irreversible(step.revision)
    pulled = tuple(s.revision for s in steps if s.revision.qualified not in asked)
    return _plan(forest, current, applied - doomed, steps, grouping, pulled)


def _dependents(forest: CombinedGraph, stranded: list[str], doomed: set[str]) -> Refused:
    needs = {name: [need for need in forest.requires.get(name, ()) if need in doomed] for name in stranded}
    first = next(name for name in stranded if needs[name])
    more = f" and {len(stranded) - 1} more" if len(stranded) > 1 else ""
    return Refused(
        f"undoing {needs[first][0]} would strand {first}{more}: {first} requires it",
        database=first.partition("@")[0],
        state="nothing was changed",
        hint="add --cascade to undo that as well, or downgrade that database first",
    )


def plan_stamp(
    forest: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    claims: Mapping[str, set[str]],
    *,
    purge: bool = False,
) -> Plan:
    """The version rows that make `claims` count as applied, whatever the databases really contain."""
    stamps = []
    after = dict(current)
    for name, claim in claims.items():
        graph = forest.graphs[name]
        applied = graph.ancestors(key for key in current[name] if key in graph)
        heads = graph.version_rows(claim)
        after[name] = heads
        if set(heads) != set(current[name]):
            claimed = tuple(graph[key] for key in graph.sorted(claim - applied))
            disowned = tuple(graph[key] for key in graph.sorted(applied - claim))
            stamps.append(Stamp(name, heads, claimed, disowned, purge))
    segments = (Segment(tuple(stamps), transactional=True),) if stamps else ()
    return Plan(dict(current), after, segments)


def plan_without_changes(databases: Iterable[str], current: Mapping[str, tuple[str, ...]]) -> Plan:
    """Plan a run that leaves every revision as it is, for work in a transaction of each database."""
    stamps = tuple(Stamp(name, current[name]) for name in databases)
    return Plan(dict(current), dict(current), (Segment(stamps, transactional=True),))


def _applied(forest: CombinedGraph, current: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {
        f"{name}@{key}" for name, heads in current.items() for key in forest.graphs[name].ancestors(heads)
    }


def _refuse_irreversible(revision: Revision) -> None:
    if revision.irreversible is not None or not revision.has_downgrade:
        raise Refused(
            f"revision {revision.id} ({revision.message}) cannot be undone: "
            + (revision.irreversible or "it has no downgrade()"),
            database=revision.database,
            location=revision.location,
            state="nothing was changed",
        )


def _plan(
    forest: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    applied: set[str],
    steps: list[Step],
    grouping: TransactionMode,
    pulled_in: tuple[Revision, ...],
) -> Plan:
    keys: dict[str, set[str]] = {name: set() for name in current}
    for qualified in applied:
        name, _, key = qualified.partition("@")
        keys[name].add(key)
    after = {name: forest.graphs[name].version_rows(each) for name, each in keys.items()}
    return Plan(dict(current), after, segment(steps, grouping), pulled_in)


def segment(steps: Iterable[Step], grouping: TransactionMode = TransactionMode.ALL) -> tuple[Segment, ...]:
    """Cut the steps where a transaction cannot or should not go on."""
    numbered = []
    number = 0
    previous: Step | None = None
    for step in steps:
        if previous is not None and _cut(previous, step, grouping):
            number += 1
        numbered.append((number, step))
        previous = step
    groups = [tuple(step for _, step in group) for _, group in groupby(numbered, key=lambda pair: pair[0])]
    return tuple(
        Segment(
            group,
            transactional=group[0].revision.non_transactional_reason is None,
            end_reason=_cut(group[-1], groups[index + 1][0], grouping) if index + 1 < len(groups) else "",
        )
        for index, group in enumerate(groups)
    )


def _cut(before: Step, after: Step, grouping: TransactionMode) -> str:
    """Why the two steps cannot share a transaction; empty where they can."""
    if before.revision.non_transactional_reason is not None:
        return f"{before.revision.id} cannot run in a transaction: {before.revision.non_transactional_reason}"
    if after.revision.non_transactional_reason is not None:
        return f"{after.revision.id} cannot run in a transaction: {after.revision.non_transactional_reason}"
    if before.direction is Direction.UP and before.revision.commit_after_reason is not None:
        return f"{before.revision.id} must be committed first: {before.revision.commit_after_reason}"
    if grouping is TransactionMode.PER_REVISION:
        return "one revision per transaction was asked for"
    return ""
