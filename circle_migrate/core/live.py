"""What the live database was asked about the objects that a plan touches, and what it answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from circle_migrate.core.traces import Lock


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


class Ask(StrEnum):
    """What a probe asks of rows; each is answered by their number, counted up to a limit."""

    NULLS = "null values"
    DUPLICATES = "duplicate values"
    ORPHANS = "rows without their partner"
    VIOLATIONS = "rows that break the condition"
    UNCASTABLE = "values that cannot be converted"
    TOO_LONG = "values that are too long"
    VALUES = "values that would be dropped"
    ROWS = "rows that would be dropped"
    BEHIND = "values ahead of the sequence"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: `subject` is the column, index or constraint, `query` a SELECT of at most one number."""

    ask: Ask
    relation: str
    subject: str
    query: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `count` is None where unknown (`why` says why), a minimum where there is `more`."""

    probe: Probe
    count: int | None
    more: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session or prepared transaction that holds a lock now which a step would have to wait for."""

    relation: str
    held: Lock
    who: str
    since_seconds: float
