"""The evidence about a plan, the sizes from which tables count as large, and estimates of durations."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from circle_migrate.config.relation import Relation
from circle_migrate.core.byte_size import format_bytes
from circle_migrate.core.counted import counted
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.safety.live_database.record import Answer, Blocker, ObjectUsage, Size
from circle_migrate.safety.trace.record import Task, Trace

MEGABYTE = 1 << 20
_MINUTE, _HOUR = 60.0, 3600.0

_RATES: Mapping[Task, tuple[float, float]] = {
    Task.SCAN: (1_000_000, 10_000_000),
    Task.FK_VALIDATION: (500_000, 5_000_000),
    Task.INDEX_BUILD: (200_000, 2_000_000),
    Task.REWRITE: (50_000, 200_000),
    Task.UPDATE: (15_000, 50_000),
    Task.INSERT: (30_000, 200_000),
    Task.DELETE: (50_000, 500_000),
    Task.TRUNCATE: (1_000_000_000, 1_000_000_000),
}
"""Slow and fast rates in rows per second, as orders of magnitude.

The fast ones were measured on PostgreSQL 15, 16 and 18 with fsync off, a table of ten columns and four
indexes, on two cores; the slow ones allow for disks and traffic.
"""

_BYTES_PER_ROW = 100
"""Assumed if the number of rows is unknown."""


class Mode(StrEnum):
    """Whether facts come from the live databases; in CI no database is queried."""

    LIVE = "live"
    CI = "ci"


@dataclass(frozen=True, slots=True)
class Limits:
    """The number of rows, or of bytes with indexes, from which a table is large."""

    rows: int = 10_000
    bytes: int = 50 * MEGABYTE


NEVER = Limits(1 << 63, 1 << 63)
"""The limits of a table that counts as small at any size."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Table size thresholds; `tables` has those of single tables: `schema.name` or `database@schema.name`."""

    limits: Limits = field(default_factory=Limits)
    tables: Mapping[str, Limits] = field(default_factory=dict)

    def of(self, database: str, relation: str) -> Limits:
        """Return the limits of a table."""
        return self.tables.get(f"{database}@{relation}") or self.tables.get(relation) or self.limits


@dataclass(frozen=True, slots=True)
class Evidence:
    """The facts that rules use; mappings are by database.

    `traced` is false if the statements were only rendered. `catalogs` are from before the plan.
    `expected_rows` has the number of rows that the live planner expects a statement to write, by database and
    text, `scanned` the tables that it reads as a whole. `relations` are keys that two databases share;
    `secrets` is the database that secrets belong to.
    """

    trace: Trace
    sizes: Mapping[str, Mapping[str, Size]] = field(default_factory=dict)
    answers: Sequence[Answer] = ()
    blockers: Mapping[str, Sequence[Blocker]] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    mode: Mode = Mode.LIVE
    traced: bool = True
    catalogs: Mapping[str, Snapshot] = field(default_factory=dict)
    usage: Mapping[str, ObjectUsage] = field(default_factory=dict)
    expected_rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    scanned: Mapping[tuple[str, str], Collection[str]] = field(default_factory=dict)
    relations: Sequence[Relation] = ()
    secrets: str | None = None
    downgrade: bool = False

    def size(self, database: str, relation: str) -> Size | None:
        """Return the size of a relation, by its name before the plan; None if unknown."""
        return self.sizes.get(database, {}).get(relation)

    def total_size(self, database: str, relations: Iterable[str]) -> Size | None:
        """Return the total size of relations; None if one size is unknown."""
        sizes = [self.size(database, relation) for relation in relations]
        known = [size for size in sizes if size is not None]
        if not known or len(known) < len(sizes):
            return None
        rows = None if any(size.rows is None for size in known) else sum(size.rows or 0 for size in known)
        table, indexes = sum(size.bytes for size in known), sum(size.index_bytes for size in known)
        return replace(known[0], rows=rows, bytes=table, index_bytes=indexes)

    def is_large(self, database: str, relation: str, size: Size | None) -> bool:
        """Return whether a relation of this size counts as large; one of unknown size does."""
        limits = self.thresholds.of(database, relation)
        if size is None:
            return limits != NEVER
        rows = size.rows or 0
        return rows >= limits.rows or size.bytes + size.index_bytes >= limits.bytes


def is_empty(size: Size | None) -> bool:
    """Return whether a relation is known to have no rows."""
    return size is not None and size.rows == 0


def format_size(size: Size | None) -> str:
    """Return a size as text."""
    if size is None:
        return "of unknown size"
    rows = "an unknown number of rows" if size.rows is None else f"about {counted(size.rows, 'row')}"
    total = size.bytes + size.index_bytes
    text = f"{rows}, {format_bytes(total)}" if total >= MEGABYTE else rows
    return text if size.source == "live" else f"{text} ({size.source})"


def format_estimate(task: Task, size: Size | None) -> str:
    """Return how long the work may take as text, empty if the size is unknown."""
    if size is None:
        return ""
    rows = size.bytes / _BYTES_PER_ROW if size.rows is None else size.rows
    most, least = (rows / rate for rate in _RATES[task])
    return f"estimated {'' if most < 1 else f'{_duration(least)} to '}{_duration(most)}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "under a second"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h"
