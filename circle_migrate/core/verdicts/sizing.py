"""What is large, and how long work on it may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from circle_migrate.core.live import Size
from circle_migrate.core.traces import Task
from circle_migrate.core.verdicts.record import MEGABYTE, NEVER, Thresholds

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


def in_words(size: Size | None) -> str:
    """A size as people say it."""
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
