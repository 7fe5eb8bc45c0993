"""How many rows the live planner expects a statement to write, without running it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.catalog.queries import read_transaction

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

_WRITES = re.compile(r"\s*(?:UPDATE|DELETE|INSERT|MERGE|WITH)\b", re.IGNORECASE)
_NAME = "circle_migrate_expecting"
# Of a generic plan the values of parameters do not matter: nobody knows them.
_PARAMETERS = "SELECT cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = $1"


async def expected_rows(database: Database, statements: Mapping[int, str]) -> dict[int, int]:
    """The expected rows by the statement's key; without those that write none or cannot be planned there.

    A statement that names what the plan has yet to make cannot. Raises what `bounded_read` raises.
    """
    writing = {key: sql for key, sql in statements.items() if _WRITES.match(sql)}
    if not writing:
        return {}
    found = {}
    async with bounded_read(database) as connection:
        for key, sql in writing.items():
            rows = await _expected(connection, f"{_NAME}_{key}", sql)
            if rows is not None:
                found[key] = rows
    return found


async def _expected(connection: asyncpg.Connection, name: str, sql: str) -> int | None:
    import asyncpg

    try:
        async with read_transaction(connection):
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            # By the protocol that takes one statement alone: a second one would be run.
            await connection.fetch(f"PREPARE {name} AS {sql}")
            count = await connection.fetchval(_PARAMETERS, name)
            given = f" ({', '.join(['NULL'] * count)})" if count else ""
            answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{given}")
            await connection.execute(f"DEALLOCATE {name}")
    except asyncpg.PostgresError:
        return None
    return _written(json.loads(answer)[0]["Plan"])


def _written(plan: Mapping[str, Any]) -> int | None:
    """The rows that go into the node which writes, the largest number where there are several."""
    parts = plan.get("Plans", ())
    if plan["Node Type"] == "ModifyTable":
        return sum(int(part["Plan Rows"]) for part in parts if part.get("Parent Relationship") == "Outer")
    rows = [found for found in map(_written, parts) if found is not None]
    return max(rows, default=None)
