"""Run probes on a live database. A probe without an answer is unknown, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circle_migrate.postgres.bounded_read import TOTAL_SECONDS, LiveQuery, QueryError, open_live_query
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.probe_context import LIMIT
from circle_migrate.safety.live_database.record import Answer, Probe, ProbeKind

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

_NO_SUCH_FUNCTION = "42883"
_UNRESOLVED = ("42704", _NO_SUCH_FUNCTION)
"""SQLSTATEs of a type or function that was not found."""
_CONSTRAINT_CLASSES = ("22", "23")

_ANCESTORS = """
WITH RECURSIVE above (name, oid) AS (
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1)
    UNION
    SELECT above.name, i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
)
SELECT above.name, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS ancestor
FROM above JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) <> above.name
"""


async def run_probes(
    database: Database, probes: Sequence[Probe], seconds: float = 2.0, total: float = TOTAL_SECONDS
) -> tuple[Answer, ...]:
    """Return the answers to the probes of one database, in their order.

    One probe may take `seconds`, all together `total`. A partition is left out where its parent has the same
    probe. An unknown answer says why. Raises only what connecting raises.
    """
    if not any(probe.query for probe in probes):
        return tuple(Answer(probe, None, why=probe.unknown) for probe in probes)
    async with open_live_query(database, seconds, total) as live:
        covered = await _covered(live, probes)
        return tuple([await _answer(live, probe) for probe in probes if probe not in covered])


async def _answer(live: LiveQuery, probe: Probe) -> Answer:
    if probe.unknown:
        return Answer(probe, None, why=probe.unknown)
    try:
        rows = await _rows(live, probe.query)
    except QueryError as error:
        return _unanswered(probe, error)
    count = int(rows[0][0] or 0) if rows else 0
    if count and probe.fixed_by:
        number = f"more than {LIMIT}" if count > LIMIT else count
        return Answer(probe, None, why=f"{number} now, but {probe.fixed_by} changes that in the same run")
    return Answer(probe, min(count, LIMIT), more=count > LIMIT)


async def _rows(live: LiveQuery, query: str) -> list[asyncpg.Record]:
    """Return the rows of a probe. Names that a revision does not qualify are found by the configured path."""
    try:
        return await live.rows(query)
    except QueryError as error:
        if error.sqlstate not in _UNRESOLVED or "pg_input_is_valid" in str(error):
            raise
    return await live.rows(query, configured_path=True)


def _unanswered(probe: Probe, error: QueryError) -> Answer:
    if error.sqlstate.startswith(_CONSTRAINT_CLASSES):
        if probe.kind is ProbeKind.UNCASTABLE and not probe.fixed_by:
            return Answer(probe, 1, more=True)
        return Answer(probe, None, why=f"a value made the query fail (SQLSTATE {error.sqlstate})")
    if error.sqlstate == _NO_SUCH_FUNCTION and "pg_input_is_valid" in str(error):
        return Answer(probe, None, why="conversions can be tested on PostgreSQL 16 and newer only")
    return Answer(probe, None, why=str(error))


async def _covered(live: LiveQuery, probes: Sequence[Probe]) -> frozenset[Probe]:
    """Return the probes of partitions whose parent has the same probe, which covers them."""
    try:
        rows = await live.rows(_ANCESTORS, sorted({probe.relation for probe in probes}))
    except QueryError:  # Partitions are then read on their own, with the same result.
        return frozenset()
    keys = {_key(probe, probe.relation) for probe in probes}
    return frozenset(
        probe
        for probe in probes
        if any(_key(probe, row["ancestor"]) in keys for row in rows if row["name"] == probe.relation)
    )


def _key(probe: Probe, relation: str) -> tuple[object, ...]:
    """Return the same for probes that count the same in a table and in its partition."""
    return (probe.statement, probe.kind, relation, split_identity(probe.subject)[2:])
