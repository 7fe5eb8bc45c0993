"""What probes ask the live databases about the objects that a plan touches, and the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from circle_migrate.safety.trace.record import Lock

STORING = frozenset({"table", "materialized view"})
"""Kinds of relations that store rows of their own."""

TYPES = frozenset({"enum", "domain", "composite type", "range type"})


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a relation: `rows` is the server's estimate, None where it has none.

    `bytes` counts the table, `index_bytes` its indexes. `source` is `live`, `statistics file` or `assumed`.
    """

    relation: str
    rows: int | None
    bytes: int
    index_bytes: int = 0
    source: str = "live"


class ProbeKind(StrEnum):
    """The rows or values that a probe counts, up to a limit."""

    NULLS = "null values"
    DUPLICATES = "duplicate values"
    ORPHANS = "rows without a referenced row"
    VIOLATIONS = "rows that violate the condition"
    UNCASTABLE = "values that cannot be converted"
    TOO_LONG = "values that are too long"
    CUT = "values that would be truncated or rounded"
    VALUES = "values that would be dropped"
    ROWS = "rows that would be dropped"
    BEHIND = "values that the sequence would yield again"
    GIVEN = "values that no sequence has yielded"
    REFUSED = "rows that break the rule for writes"
    INSERTS = "an INSERT that omits the new columns"


_SINGULAR = (
    ("values", "value"),
    ("rows", "row"),
    (" are ", " is "),
    (" violate ", " violates "),
    (" break ", " breaks "),
)
"""Parts of a kind, and what they are for one row or value."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One count: `subject` is the column, index or constraint, `query` a SELECT of at most one number.

    `relation` has its name in the live database, `subject` its name after the statement of index `statement`.
    `unknown` says why only a count of 0 is an answer. `fixed_by` is a revision that changes the rows before
    the statement, or the sequence after it; `related` are all names of what it changes.
    """

    kind: ProbeKind
    relation: str
    subject: str
    query: str = ""
    database: str = ""
    statement: int = 0
    unknown: str = ""
    fixed_by: str = ""
    related: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a probe: `count`, a minimum with `more`; None where unknown, for the reason in `why`."""

    probe: Probe
    count: int | None
    more: bool = False
    why: str = ""

    @property
    def text(self) -> str:
        """The count with what it counts."""
        text = f"{'more than ' if self.more else ''}{self.count:,} {self.probe.kind}"
        for plural, singular in _SINGULAR if self.count == 1 else ():
            text = text.replace(plural, singular)
        return text


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session or prepared transaction that holds a lock which a step would have to wait for.

    `held` is None for one that holds only a snapshot, on which a concurrent index build waits.
    `since_seconds` is the age of its transaction, 0 where this role may not see it; `who` says so then.
    """

    relation: str
    held: Lock | None
    who: str
    since_seconds: float


class ColumnName(NamedTuple):
    """A column of the live database; `relation` with its schema, both as PostgreSQL prints them."""

    relation: str
    name: str


class WritePlan(NamedTuple):
    """The rows that the planner expects a statement to write, and the tables that it reads as a whole."""

    rows: int
    scanned: frozenset[str]


@dataclass(frozen=True, slots=True)
class ObjectUsage:
    """How objects of the live database are used.

    `sequences` has the column that each owned one feeds, `domains` the columns of each. `published` are
    tables of which UPDATE or DELETE is published, `invalid_indexes` pairs of table and INVALID index.
    `inherited_roles` has, by existing role, those whose privileges it has; None if unknown.
    """

    sequences: Mapping[str, ColumnName] = field(default_factory=dict)
    domains: Mapping[str, tuple[ColumnName, ...]] = field(default_factory=dict)
    published: frozenset[str] = frozenset()
    invalid_indexes: tuple[tuple[str, str], ...] = ()
    inherited_roles: Mapping[str, frozenset[str]] | None = None
