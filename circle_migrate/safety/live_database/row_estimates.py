"""Estimate the rows that a statement writes by the live planner, without running it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.catalog.queries import read_transaction
from circle_migrate.postgres.search_path import CONFIGURED_LOCALLY, PINNED_LOCALLY

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

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
    import asyncpg

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
