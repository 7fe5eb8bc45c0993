"""The context of each statement of a trace: the catalog before and after it, names before the plan, sizes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from circle_migrate.core.errors import ExitCode
from circle_migrate.core.findings import Severity
from circle_migrate.core.redaction import redact_statement
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.safety.live_database.record import STORING, Answer, ObjectUsage, ProbeKind, Size
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.evidence import Evidence, format_estimate, format_size
from circle_migrate.safety.trace.record import Lock, Task, TracedStatement, Work
from circle_migrate.safety.trace.renames import possible_renames, says_rename

CatalogState = Mapping[ObjectKey, Mapping[str, str | None]]
"""The objects of a database and their fields."""

RELATIONS = STORING | {"view", "foreign table"}
"""Kinds of objects that a query reads by their name."""

ARBITERS = frozenset({"unique", "primary key", "exclusion"})
"""Types of constraints that ON CONFLICT can name."""

_WITHOUT_ROWS = frozenset({"view", "sequence", "foreign table"})
LONG_TASKS = (Task.REWRITE, Task.INDEX_BUILD, Task.FK_VALIDATION, Task.SCAN)
_LONGEST_FIRST = (*LONG_TASKS, Task.UPDATE, Task.INSERT, Task.DELETE, Task.TRUNCATE)


class PlanContext:
    """All statements of a trace; `first` and `last` are the catalogs before and after the plan."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.first: dict[str, CatalogState] = {
            name: dict(catalog.objects) for name, catalog in evidence.catalogs.items()
        }
        self.last: dict[str, CatalogState] = dict(self.first)
        self.statements = tuple(self._statements())

    def _statements(self) -> "Iterator[StatementContext]":
        origins: dict[str, dict[ObjectKey, ObjectKey | None]] = {}
        transactions: dict[tuple[object, ...], int] = {}
        for index, statement in enumerate(self.evidence.trace.statements):
            name = statement.database
            own = 0 if statement.transactional else index + 1
            transaction = transactions.setdefault((name, statement.segment, own), len(transactions))
            before = self.last.get(name, {})
            after = self.last[name] = _apply_changes(before, statement.changes)
            known = origins.setdefault(name, {})
            pairs = possible_renames(statement.changes) if says_rename(statement.sql) else ()
            renamed = {old.key: new.key for old, new in pairs}
            yield StatementContext(self, index, statement, before, after, transaction, renamed, dict(known))
            _update_origins(known, statement.changes, renamed)

    @cached_property
    def transactions(self) -> "tuple[tuple[StatementContext, ...], ...]":
        """The statements of each transaction."""
        transactions: dict[int, list[StatementContext]] = {}
        for context in self.statements:
            transactions.setdefault(context.transaction, []).append(context)
        return tuple(map(tuple, transactions.values()))

    @cached_property
    def relations_without_rows(self) -> frozenset[tuple[str, str]]:
        """Views, sequences and foreign tables that statements change, as (database, name)."""
        return frozenset(
            (context.statement.database, change.key.identity)
            for context in self.statements
            for change in context.statement.changes
            if change.key.kind in _WITHOUT_ROWS
        )

    @cached_property
    def answers(self) -> dict[tuple[int, ProbeKind, str], Answer]:
        """The answers of live databases by statement, kind and subject of the probe."""
        return {
            (answer.probe.statement, answer.probe.kind, answer.probe.subject): answer
            for answer in self.evidence.answers
        }


@dataclass(frozen=True)
class StatementContext:
    """A statement with the objects before and after it; `transaction` counts the transactions of the plan.

    `renamed` maps the key of each object that the statement renames to the new one; `origins` maps the key of
    an object that was renamed or created by earlier statements to its key before the plan, None if created.
    """

    plan: PlanContext
    index: int
    statement: TracedStatement
    before: CatalogState
    after: CatalogState
    transaction: int
    renamed: Mapping[ObjectKey, ObjectKey]
    origins: Mapping[ObjectKey, ObjectKey | None]

    @property
    def first(self) -> CatalogState:
        """The catalog of the statement's database before the plan; empty if unknown."""
        return self.plan.first.get(self.statement.database, {})

    @property
    def usage(self) -> ObjectUsage:
        """How objects of the statement's database are used; empty if unknown."""
        return self.plan.evidence.usage.get(self.statement.database, ObjectUsage())

    @property
    def last(self) -> CatalogState:
        """The catalog of the statement's database after the plan."""
        return self.plan.last[self.statement.database]

    def changes(self, op: Op, *kinds: str) -> Iterator[Change]:
        """Yield what the statement did to objects of these kinds; of all kinds by default."""
        return (
            change
            for change in self.statement.changes
            if change.op is op and (not kinds or change.key.kind in kinds)
        )

    def origin(self, key: ObjectKey) -> ObjectKey | None:
        """Return the key that an object had before the plan; None if the plan creates it."""
        if key in self.new:
            return None
        earlier = self._old_keys.get(key, key)
        return self.origins.get(earlier, earlier)

    def existed(self, key: ObjectKey | None) -> bool:
        """Return whether an object existed before the plan."""
        return key is not None and self.origin(key) is not None

    @cached_property
    def new(self) -> frozenset[ObjectKey]:
        """The objects that the statement creates."""
        return frozenset(change.key for change in self.changes(Op.ADDED)) - self._old_keys.keys()

    @cached_property
    def _old_keys(self) -> Mapping[ObjectKey, ObjectKey]:
        return {new: old for old, new in self.renamed.items()}

    @cached_property
    def dropped(self) -> tuple[Change, ...]:
        """The removals of objects that existed before the plan; renames are none."""
        removals = (change for change in self.changes(Op.REMOVED) if change.key not in self.renamed)
        return tuple(change for change in removals if self.existed(change.key))

    @cached_property
    def removed(self) -> frozenset[ObjectKey]:
        """All keys that no longer exist, those of renamed objects too."""
        return frozenset(change.key for change in self.changes(Op.REMOVED))

    @cached_property
    def added(self) -> tuple[Change, ...]:
        """The additions of objects; renames are none."""
        return tuple(change for change in self.changes(Op.ADDED) if change.key in self.new)

    def live_relation(self, key: ObjectKey | None) -> str | None:
        """Return the name that sizes and locks have for a relation: the one before the plan."""
        origin = self.origin(key) if key is not None else None
        return origin.identity if origin is not None else None

    def holds_rows(self, relation: str) -> bool:
        """Return whether a relation from before the plan is a table, which is assumed if nothing is known."""
        if self.first:
            return any(ObjectKey(kind, relation) in self.first for kind in STORING)
        return (self.statement.database, relation) not in self.plan.relations_without_rows

    def root(self, relation: str) -> str:
        """Return the topmost partitioned table that a partition belongs to; any other relation itself."""
        parent = self.first.get(ObjectKey("table", relation), {}).get("partition_of")
        return relation if parent is None else self.root(parent.partition("\n")[0])

    def is_large(self, relation: str) -> bool:
        """Return whether a relation, by its name in locks and work, is a large table from before the plan."""
        if relation in self.statement.created_relations or not self.holds_rows(relation):
            return False
        return self.plan.evidence.is_large(self.statement.database, relation, self.size(relation))

    def blocking_locks(self, locks: Mapping[str, Lock]) -> dict[str, Lock]:
        """Return the locks that make readers or writers of a large table wait."""
        return {
            name: mode
            for name, mode in locks.items()
            if mode.blocks_reads
            or (mode.blocks_writes and ObjectKey("materialized view", name) not in self.first)
            if self.is_large(name)
        }

    def answer(self, probe: ProbeKind, subject: str) -> Answer | None:
        """Return the answer of the live database about an object; None if it was not probed."""
        return self.plan.answers.get((self.index, probe, subject))

    def size(self, relation: str | None) -> Size | None:
        """Return the size of a relation from before the plan; None if unknown."""
        return None if relation is None else self.plan.evidence.size(self.statement.database, relation)

    def total_size(self, works: Iterable[Work]) -> Size | None:
        """Return the size of all relations that are worked on; None if one size is unknown."""
        relations = dict.fromkeys(work.relation for work in works)
        return self.plan.evidence.total_size(self.statement.database, relations)

    def finding(
        self,
        rule: str,
        severity: Severity,
        subject: str,
        reason: str,
        *,
        relation: ObjectKey | str | None = None,
        locks: Mapping[str, Lock] = {},
        works: Sequence[Work] = (),
        confidence: Confidence | None = None,
    ) -> HazardFinding:
        """Return a finding about the statement; by default its confidence is that of the trace.

        `reason` is the message without the hazard's title. The `relation` is a key, or a name from before the
        plan. The longest of the `works` decides how long they take.
        """
        statement = self.statement
        name = self.live_relation(relation) if isinstance(relation, ObjectKey) else relation
        total = self.total_size(works)
        size = total or self.size(name)
        longest = min((work.task for work in works), key=_LONGEST_FIRST.index, default=Task.SCAN)
        default = Confidence.TRACED if self.plan.evidence.traced else Confidence.STATIC
        return HazardFinding(
            rule,
            severity,
            reason,
            ExitCode.REFUSED,
            statement.database,
            statement.revision,
            file=statement.file,
            line=statement.line,
            subject=subject,
            confidence=confidence or default,
            statement_index=self.index,
            statement=redact_statement(statement.sql),
            relation=name or "",
            lock=describe_waits(locks),
            work="; ".join(dict.fromkeys(f"{work.task} of {work.relation}" for work in works)),
            size="" if size is None else format_size(size),
            estimate=format_estimate(longest, total),
        )


def describe_waits(locks: Mapping[str, Lock]) -> str:
    """Describe locks and which statements of other sessions wait for them."""
    return "; ".join(
        f"{mode.sql} on {name}: {'reads and writes' if mode.blocks_reads else 'writes'} wait"
        for name, mode in sorted(locks.items())
        if mode.blocks_writes
    )


def _apply_changes(before: CatalogState, changes: Sequence[Change]) -> CatalogState:
    if not changes:
        return before
    after = dict(before)
    for change in changes:
        if change.op is Op.REMOVED:
            after.pop(change.key, None)
            continue
        fields = {**after.get(change.key, {})} if change.op is Op.CHANGED else {}
        fields |= {name: sides[1] for name, sides in change.fields.items()}
        if change.of is not None:
            fields.setdefault("of", change.of)
        after[change.key] = {name: value for name, value in fields.items() if value is not None}
    return after


def _update_origins(
    origins: dict[ObjectKey, ObjectKey | None],
    changes: Iterable[Change],
    renamed: Mapping[ObjectKey, ObjectKey],
) -> None:
    """Carry the names from before the plan over a statement."""
    moved = {new: origins.get(old, old) for old, new in renamed.items()}
    for change in changes:
        if change.op is Op.REMOVED:
            origins.pop(change.key, None)
    origins |= {change.key: moved.get(change.key) for change in changes if change.op is Op.ADDED}
