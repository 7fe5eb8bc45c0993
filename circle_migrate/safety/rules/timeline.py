"""A trace as a story: what was there before and after each statement, what it was called before the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import matcher, own_name
from circle_migrate.safety.live_database.record import Answer, ProbeKind, Size
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.evidence import Evidence, Sizes, format_estimate, format_size
from circle_migrate.safety.trace.record import Lock, TracedStatement

CatalogState = Mapping[ObjectKey, Mapping[str, str | None]]
"""The objects of a database and their fields."""

STORING = frozenset({"table", "materialized view"})
RELATIONS = STORING | {"view", "foreign table"}
"""Kinds of objects that a query reads by their name."""

_RENAMES = matcher(r"\b(?:RENAME|SET\s+SCHEMA)\b")
_HIDING = frozenset({"view", "sequence", "foreign table"})


@dataclass(frozen=True)
class StatementContext:
    """One statement with the objects before and after it; `group` counts the transactions of the plan.

    `renamed` has the new key of everything that has one; `origins` leads from what has another name than
    before the plan to that name, None where the plan has made it.
    """

    place: int
    statement: TracedStatement
    before: CatalogState
    after: CatalogState
    group: int
    renamed: Mapping[ObjectKey, ObjectKey]
    origins: Mapping[ObjectKey, ObjectKey | None]

    def changes(self, op: Op, *kinds: str) -> Iterator[Change]:
        """What it did to objects of these kinds; to all without any."""
        return (
            change
            for change in self.statement.changes
            if change.op is op and (not kinds or change.key.kind in kinds)
        )

    def origin(self, key: ObjectKey) -> ObjectKey | None:
        """What an object was called before the plan; None where the plan has made it."""
        if key in self.new:
            return None
        earlier = self._earlier.get(key, key)
        return self.origins.get(earlier, earlier)

    def existed(self, key: ObjectKey | None) -> bool:
        """Whether an object of before or after the statement was there before the plan."""
        return key is not None and self.origin(key) is not None

    @cached_property
    def new(self) -> frozenset[ObjectKey]:
        """What the statement has made."""
        return frozenset(change.key for change in self.changes(Op.ADDED)) - self._earlier.keys()

    @cached_property
    def _earlier(self) -> Mapping[ObjectKey, ObjectKey]:
        """What everything that has another name was called before the statement."""
        return {new: old for old, new in self.renamed.items()}

    @cached_property
    def dropped(self) -> tuple[Change, ...]:
        """What went that was there before the plan, without what has another name now."""
        return tuple(
            change
            for change in self.changes(Op.REMOVED)
            if change.key not in self.renamed and self.existed(change.key)
        )

    @cached_property
    def gone(self) -> frozenset[ObjectKey]:
        """All that is not there any more by its name."""
        return frozenset(change.key for change in self.changes(Op.REMOVED))

    @cached_property
    def added(self) -> tuple[Change, ...]:
        """What came, without what has another name now."""
        return tuple(change for change in self.changes(Op.ADDED) if change.key in self.new)

    def live_relation(self, key: ObjectKey | None) -> str | None:
        """The name by which sizes and locks know a relation."""
        origin = self.origin(key) if key is not None else None
        return origin.identity if origin is not None else None


class Timeline:
    """All scenes of a trace, and the tables in which what is known of them is looked up."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.first: dict[str, CatalogState] = {
            name: dict(catalogue.objects) for name, catalogue in evidence.catalogues.items()
        }
        self.last: dict[str, CatalogState] = dict(self.first)
        self.sizes = Sizes(evidence.sizes, evidence.thresholds)
        self.scenes = tuple(self._scenes())
        self._hiding = {
            (scene.statement.database, change.key.identity)
            for scene in self.scenes
            for change in scene.statement.changes
            if change.key.kind in _HIDING
        }

    def _scenes(self) -> Iterator[StatementContext]:
        origins: dict[str, dict[ObjectKey, ObjectKey | None]] = {}
        groups: dict[tuple[object, ...], int] = {}
        for place, statement in enumerate(self.evidence.trace.statements):
            alone = 0 if statement.transactional else place + 1
            group = groups.setdefault((statement.database, statement.segment, alone), len(groups))
            name = statement.database
            before = self.last.get(name, {})
            known = origins.setdefault(name, {})
            renamed = _renamed(statement)
            yield StatementContext(
                place, statement, before, _after(before, statement.changes), group, renamed, dict(known)
            )
            self.last[name] = _after(before, statement.changes)
            _remember(known, statement.changes, renamed)

    @cached_property
    def groups(self) -> tuple[tuple[StatementContext, ...], ...]:
        """The scenes of each transaction."""
        found: dict[tuple[str, int], list[StatementContext]] = {}
        for scene in self.scenes:
            found.setdefault((scene.statement.database, scene.group), []).append(scene)
        return tuple(tuple(scenes) for scenes in found.values())

    def holds_rows(self, database: str, relation: str) -> bool:
        """Whether a relation of before the plan is a table; taken for one where nothing is known."""
        world = self.first.get(database)
        if world:
            return any(ObjectKey(kind, relation) in world for kind in STORING)
        return (database, relation) not in self._hiding

    def root(self, database: str, relation: str) -> str:
        """The partitioned table a partition belongs to, itself for any other one."""
        fields = self.first.get(database, {}).get(ObjectKey("table", relation), {})
        parent = fields.get("partition_of")
        return relation if parent is None else self.root(database, parent.partition("\n")[0])

    def is_large(self, scene: StatementContext, relation: str) -> bool:
        """Whether a relation, by its name in locks and work, is a large table of before the plan."""
        statement = scene.statement
        if relation in statement.created_relations or not self.holds_rows(statement.database, relation):
            return False
        size = self.sizes.of(statement.database, relation)
        return self.sizes.is_large(statement.database, relation, size)

    def blocking_locks(self, scene: StatementContext, locks: Mapping[str, Lock]) -> dict[str, Lock]:
        """Those of the locks for which somebody waits who reads or writes a large table."""
        return {
            name: mode
            for name, mode in locks.items()
            if (mode.blocks_reads or (mode.blocks_writes and not self._is_view(scene, name)))
            and self.is_large(scene, name)
        }

    def _is_view(self, scene: StatementContext, relation: str) -> bool:
        """Whether it is a materialized view, which nobody writes."""
        return ObjectKey("materialized view", relation) in self.first.get(scene.statement.database, {})

    def answer(self, scene: StatementContext, ask: ProbeKind, subject: str) -> Answer | None:
        """What the live database said about an object of a statement; None where nobody asked."""
        return self._answers.get((scene.place, ask, subject))

    @cached_property
    def _answers(self) -> dict[tuple[int, ProbeKind, str], Answer]:
        return {
            (answer.probe.statement, answer.probe.kind, answer.probe.subject): answer
            for answer in self.evidence.answers
        }

    def size(self, scene: StatementContext, relation: str | None) -> Size | None:
        """The size of a relation of before the plan."""
        return None if relation is None else self.sizes.of(scene.statement.database, relation)

    def finding(
        self,
        scene: StatementContext,
        rule: str,
        severity: Severity,
        subject: str,
        why: str,
        *,
        relation: str | None = None,
        lock: str = "",
        work: str = "",
        confidence: Confidence | None = None,
        size: Size | None = None,
        estimate: tuple[float, float] | None = None,
    ) -> HazardFinding:
        """Make a finding about a statement; by default its confidence is that of the trace.

        `why` is the message as far as the rule knows it; `estimate` is a range of seconds.
        """
        statement = scene.statement
        size = size or self.size(scene, relation)
        by_default = Confidence.TRACED if self.evidence.traced else Confidence.STATIC
        return HazardFinding(
            rule,
            severity,
            why,
            ExitCode.REFUSED,
            statement.database,
            statement.revision,
            file=statement.file,
            line=statement.line,
            subject=subject,
            confidence=confidence or by_default,
            place=scene.place,
            statement=statement.sql,
            relation=relation or "",
            lock=lock,
            work=work,
            size="" if size is None else format_size(size),
            estimate="" if estimate is None else format_estimate(estimate),
        )


def describe_waits(locks: Mapping[str, Lock]) -> str:
    """Locks, and who waits for them, in words."""
    return "; ".join(
        f"{mode.sql} on {name}: {'reads and writes' if mode.blocks_reads else 'writes'} wait"
        for name, mode in sorted(locks.items())
        if mode.blocks_writes
    )


def _after(before: CatalogState, changes: Iterable[Change]) -> CatalogState:
    world = None
    for change in changes:
        world = dict(before) if world is None else world
        if change.op is Op.REMOVED:
            world.pop(change.key, None)
            continue
        fields = {**world.get(change.key, {})} if change.op is Op.CHANGED else {}
        fields |= {name: sides[1] for name, sides in change.fields.items()}
        if change.of is not None:
            fields.setdefault("of", change.of)
        world[change.key] = {name: value for name, value in fields.items() if value is not None}
    return before if world is None else world


def _remember(
    origins: dict[ObjectKey, ObjectKey | None],
    changes: Iterable[Change],
    renamed: Mapping[ObjectKey, ObjectKey],
) -> None:
    """Carry on the names of before the plan over one statement."""
    came = {new: origins.get(old, old) for old, new in renamed.items()}
    for change in changes:
        if change.op is Op.REMOVED:
            origins.pop(change.key, None)
    for change in changes:
        if change.op is Op.ADDED:
            origins[change.key] = came.get(change.key)


def _renamed(statement: TracedStatement) -> dict[ObjectKey, ObjectKey]:
    """What has another name after a statement that says so, with all that belongs to it."""
    if not _RENAMES.search(statement.sql):
        return {}
    gone = [change for change in statement.changes if change.op is Op.REMOVED]
    come = [change for change in statement.changes if change.op is Op.ADDED]
    pairs: dict[ObjectKey, ObjectKey] = {}
    for old in sorted(gone, key=lambda change: change.owner is not None):
        owner = old.owner and pairs.get(old.owner, old.owner)
        same = [
            new
            for new in come
            if new.key.kind == old.key.kind and new.owner == owner and new.key not in pairs.values()
        ]
        change = _successor(old, same)
        if change is not None:
            pairs[old.key] = change.key
    return pairs


def _successor(old: Change, same: list[Change]) -> Change | None:
    """The object that took another's place: the one of its name elsewhere, else the one of its shape."""
    named = [new for new in same if own_name(new.key.identity) == own_name(old.key.identity)]
    like = [new for new in same if _shape(new, 1) == _shape(old, 0)]
    return next((changes[0] for changes in (named, like) if len(changes) == 1), None)


def _shape(change: Change, side: int) -> tuple[object, ...]:
    """What stays of an object that is renamed; definitions name it, and so do not."""
    names = ("position", "type", "partition_key", "labels")
    return tuple(change.fields.get(name, (None, None))[side] for name in names)
