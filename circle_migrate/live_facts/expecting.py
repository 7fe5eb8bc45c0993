"""How many rows the live planner expects a statement to write, without running it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from circle_migrate.introspect.views import one_view
from circle_migrate.live_facts.looking import looking

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.database import Database

_WRITES = re.compile(r"\s*(?:UPDATE|DELETE|INSERT|MERGE|WITH)\b", re.IGNORECASE)
_SINCE_GENERIC_PLANS = 16


async def expected_rows(database: Database, statements: Mapping[int, str]) -> dict[int, int]:
    """The expected rows by the statement's key; without those that write none or cannot be planned there.

    A statement that names what the plan has yet to make cannot. Raises what `looking` raises.
    """
    writing = {key: sql for key, sql in statements.items() if _WRITES.match(sql)}
    if not writing:
        return {}
    found = {}
    async with looking(database) as connection:
        for key, sql in writing.items():
            rows = await _expected(connection, sql)
            if rows is not None:
                found[key] = rows
    return found


async def _expected(connection: asyncpg.Connection, sql: str) -> int | None:
    import asyncpg

    generic = connection.get_server_version().major >= _SINCE_GENERIC_PLANS
    options = "FORMAT JSON, GENERIC_PLAN" if generic else "FORMAT JSON"
    try:
        async with one_view(connection):
            answer = await connection.fetchval(f"EXPLAIN ({options}) {sql}")
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
