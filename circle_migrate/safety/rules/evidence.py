"""The evidence that findings rest on, and what of it counts as large or takes long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from circle_migrate.config.relation import Relation
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.safety.live_database.record import Answer, Blocker, InvalidIndex, Published, Size
from circle_migrate.safety.trace.record import Task, Trace

MEGABYTE = 1 << 20
_MINUTE, _HOUR = 60.0, 3600.0

RATES: Mapping[Task, tuple[float, float]] = {
    Task.SCAN: (1_000_000, 10_000_000),
    Task.FK_VALIDATION: (500_000, 5_000_000),
    Task.INDEX_BUILD: (200_000, 2_000_000),
    Task.REWRITE: (50_000, 200_000),
    Task.UPDATE: (15_000, 50_000),
    Task.INSERT: (30_000, 200_000),
    Task.DELETE: (50_000, 500_000),
    Task.TRUNCATE: (1_000_000_000, 1_000_000_000),
}
"""Rows a second, slow and fast.

The fast ones were measured on PostgreSQL 15, 16 and 18 with fsync off, a table of ten columns and four
indexes, on two cores; the slow ones allow for disks and traffic. Orders of magnitude, nothing more.
"""

_BYTES_OF_A_ROW = 100
"""Of a table whose rows nobody has counted."""


class Mode(StrEnum):
    """Whether the live databases could be asked; in CI nobody is, and tables count as large and filled."""

    LIVE = "live"
    CI = "ci"


@dataclass(frozen=True, slots=True)
class Limits:
    """From how many rows or bytes on (with its indexes) a table is large."""

    rows: int = 10_000
    bytes: int = 50 * MEGABYTE


NEVER = Limits(1 << 63, 1 << 63)
"""Of a table that is small, whatever its size."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is large; `tables` has limits for single ones: `schema.name` or `database@schema.name`."""

    limits: Limits = field(default_factory=Limits)
    tables: Mapping[str, Limits] = field(default_factory=dict)

    def of(self, database: str, relation: str) -> Limits:
        """The limits of one table."""
        return self.tables.get(f"{database}@{relation}") or self.tables.get(relation) or self.limits


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a plan; mappings are by database.

    `traced` is off where the statements were only rendered. `catalogues` are from before the plan.
    `answers` name statements by their place in the trace; `expected_rows` has how many rows the live planner
    expects a statement to write, by the same. `relations` are keys that two databases share; `secrets` is the
    database that secrets belong to.
    """

    trace: Trace
    sizes: Mapping[str, Mapping[str, Size]] = field(default_factory=dict)
    answers: Sequence[Answer] = ()
    blockers: Mapping[str, Sequence[Blocker]] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    mode: Mode = Mode.LIVE
    traced: bool = True
    catalogues: Mapping[str, Snapshot] = field(default_factory=dict)
    published: Mapping[str, Sequence[Published]] = field(default_factory=dict)
    invalid_indexes: Mapping[str, Sequence[InvalidIndex]] = field(default_factory=dict)
    expected_rows: Mapping[int, int] = field(default_factory=dict)
    relations: Sequence[Relation] = ()
    secrets: str | None = None


@dataclass(frozen=True)
class Sizes:
    """The sizes of all tables, as far as anybody knows them.

    What exists in no size is taken for large: a table that could not be seen is never fine.
    """

    known: Mapping[str, Mapping[str, Size]]
    thresholds: Thresholds

    def of(self, database: str, relation: str) -> Size | None:
        """The size of a relation by the name it had before the plan; None where nobody knows."""
        return self.known.get(database, {}).get(relation)

    def together(self, database: str, relations: Iterable[str]) -> Size | None:
        """The size of several as if they were one; None where that of one is unknown."""
        total: Size | None = None
        for relation in relations:
            size = self.of(database, relation)
            if size is None:
                return None
            total = size if total is None else _sum(total, size)
        return total

    def is_large(self, database: str, relation: str, size: Size | None) -> bool:
        """Whether a relation of this size counts as large, as one of unknown size does."""
        limits = self.thresholds.of(database, relation)
        if size is None:
            return limits != NEVER
        rows = size.rows or 0
        return rows >= limits.rows or size.bytes + size.index_bytes >= limits.bytes


def is_empty(size: Size | None) -> bool:
    """Whether the relation is known to hold nothing."""
    return size is not None and size.rows == 0


def estimate(task: Task, size: Size | None) -> tuple[float, float] | None:
    """Seconds the work may take, from and to."""
    if size is None:
        return None
    rows = size.bytes / _BYTES_OF_A_ROW if size.rows is None else size.rows
    slow, fast = RATES[task]
    return rows / fast, rows / slow


def format_size(size: Size | None) -> str:
    """Format a size for people."""
    if size is None:
        return "of unknown size"
    rows = "unknown rows" if size.rows is None else f"about {size.rows:,} rows"
    room = size.bytes + size.index_bytes
    words = f"{rows}, {room / MEGABYTE:,.0f} MB" if room >= MEGABYTE else rows
    return words if size.source == "live" else f"{words} ({size.source})"


def _sum(one: Size, other: Size) -> Size:
    rows = None if one.rows is None or other.rows is None else one.rows + other.rows
    return replace(
        one, rows=rows, bytes=one.bytes + other.bytes, index_bytes=one.index_bytes + other.index_bytes
    )


def format_estimate(seconds: tuple[float, float]) -> str:
    """Format a range of seconds without claiming more precision than it has."""
    least, most = seconds
    if most < 1:
        return "estimated under a second"
    return f"estimated {_duration(least)} to {_duration(most)}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "under a second"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h"
