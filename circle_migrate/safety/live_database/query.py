"""Run probes on a live database, and estimate by its planner the rows that statements write.

A probe without an answer is unknown, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from circle_migrate.postgres.bounded_read import (
    TOTAL_SECONDS,
    LiveQuery,
    QueryError,
    bounded_read,
    open_live_query,
)
from circle_migrate.postgres.catalog.queries import read_transaction
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.postgres.search_path import CONFIGURED_LOCALLY, PINNED_LOCALLY
from circle_migrate.safety.live_database.probe_context import LIMIT
from circle_migrate.safety.live_database.record import Answer, Probe, ProbeKind

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


_WRITES = re.compile(r"\s*(?:UPDATE|DELETE|INSERT|MERGE|WITH)\b", re.IGNORECASE)
_NAME = "circle_migrate_estimate"
_PARAMETERS = "SELECT cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = $1"


async def expected_rows(database: Database, statements: Mapping[int, str]) -> dict[int, int]:
    """Return the rows that statements are expected to write, by key.

    Statements that write no rows are left out, and those that cannot be planned, as they use objects that the
    plan creates. Raises what `bounded_read` raises.
    """
    writing = {key: sql for key, sql in statements.items() if _WRITES.match(sql)}
    if not writing:
        return {}
    async with bounded_read(database) as connection:
        return {
            key: rows
            for key, sql in writing.items()
            if (rows := await _estimate(connection, f"{_NAME}_{key}", sql)) is not None
        }


async def _estimate(connection: asyncpg.Connection, name: str, sql: str) -> int | None:
    try:
        async with read_transaction(connection):
            # The values of parameters are not known, and do not matter to a generic plan.
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            # `fetch` takes one statement only: `execute` would run a second one in the text.
            await connection.execute(CONFIGURED_LOCALLY)
            await connection.fetch(f"PREPARE {name} AS {sql}")
            await connection.execute(PINNED_LOCALLY)
            count = await connection.fetchval(_PARAMETERS, name)
            nulls = f" ({', '.join(['NULL'] * count)})" if count else ""
            await connection.execute(CONFIGURED_LOCALLY)  # the plan is made under the path of its text
            explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{nulls}")
            await connection.execute(f"DEALLOCATE {name}")
    except asyncpg.PostgresError:
        return None
    return _written_rows(json.loads(explained)[0]["Plan"])


def _written_rows(plan: Mapping[str, Any]) -> int | None:
    """Return the input rows of the ModifyTable node; of several nodes the largest number."""
    parts = plan.get("Plans", ())
    if plan["Node Type"] == "ModifyTable":
        return sum(int(part["Plan Rows"]) for part in parts if part.get("Parent Relationship") == "Outer")
    return max((rows for rows in map(_written_rows, parts) if rows is not None), default=None)
