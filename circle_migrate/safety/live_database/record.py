"""What the live database was asked about the objects that a plan touches, and what it answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from circle_migrate.safety.trace.record import Lock


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a relation there is: `rows` is the server's estimate, None where it has none.

    `bytes` counts the table, `index_bytes` its indexes. `source` is `live`, `statistics file` or `assumed`.
    """

    relation: str
    rows: int | None
    bytes: int
    index_bytes: int = 0
    source: str = "live"


class ProbeKind(StrEnum):
    """What a probe asks of rows; each is answered by their number, counted up to a limit."""

    NULLS = "null values"
    DUPLICATES = "duplicate values"
    ORPHANS = "rows without their partner"
    VIOLATIONS = "rows that break the condition"
    UNCASTABLE = "values that cannot be converted"
    TOO_LONG = "values that are too long"
    CUT = "values that would be cut or rounded"
    VALUES = "values that would be dropped"
    ROWS = "rows that would be dropped"
    BEHIND = "values ahead of the sequence"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: `subject` is the column, index or constraint, `query` a SELECT of at most one number.

    `relation` is named as the live database has it, `subject` as the catalogue has it after the statement:
    the plan may have renamed either. `statement` is the place of the statement that gave rise to it.
    `unknown` says why nothing can be asked, and `query` is empty then. `mended_by` is a revision that changes
    the rows before the statement, or the sequence after it: what is wrong now may be right by then.
    """

    kind: ProbeKind
    relation: str
    subject: str
    query: str
    database: str = ""
    statement: int = 0
    unknown: str = ""
    fixed_by: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `count` is None where unknown (`why` says why), a minimum where there is `more`."""

    probe: Probe
    count: int | None
    more: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session or prepared transaction that holds a lock now which a step would have to wait for.

    `held` is None for one that holds nothing but a snapshot, on which a concurrent index build waits.
    `since_seconds` is the age of its transaction, 0 where this role may not see it; `who` says so then.
    """

    relation: str
    held: Lock | None
    who: str
    since_seconds: float


class Column(NamedTuple):
    """A column of the live database; `relation` with its schema, both as PostgreSQL prints them."""

    relation: str
    name: str


@dataclass(frozen=True, slots=True)
class ObjectUsage:
    """Which columns of the live database use what has no rows of its own.

    `sequences` has the column each owned sequence feeds, `domains` the columns of each domain.
    """

    sequences: Mapping[str, Column] = field(default_factory=dict)
    domains: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InvalidIndex:
    """An index that a failed concurrent build left behind: it is kept up to date and never used."""

    relation: str
    index: str


@dataclass(frozen=True, slots=True)
class Published:
    """A table that a publication sends; `identity` is its replica identity.

    That is `primary key`, `index`, `full` or `nothing`: the last also where there is no primary key. Where
    it is nothing, a published UPDATE or DELETE fails.
    """

    relation: str
    publication: str
    identity: str
    updates_or_deletes: bool
