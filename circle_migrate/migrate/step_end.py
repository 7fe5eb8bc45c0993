"""What happens between two steps that share a transaction, so that each begins as the first one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.postgres.identifier import literal
from circle_migrate.postgres.search_path import CONFIGURED, PINNED

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

_OWN_SETTINGS = """
SELECT name::text, setting::text FROM pg_catalog.pg_settings
WHERE source OPERATOR(pg_catalog.=) 'session' ORDER BY 1
"""

_DEFERRABLE = """
SELECT pg_catalog.string_agg(name, ', '), pg_catalog.string_agg(name, ', ') FILTER (WHERE deferred)
FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, c.conname) AS name,
           pg_catalog.bool_or(c.condeferred) AS deferred
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.connamespace
    WHERE c.condeferrable AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    GROUP BY 1
) constraints
"""


async def check_deferred_constraints(driver: asyncpg.Connection) -> None:
    """Check deferred constraints, whose pending events would refuse the next ALTER of their table.

    Afterwards each constraint is deferred exactly if it is so initially. `SET CONSTRAINTS ALL` would change
    also constraints that are created later in the transaction.
    """
    deferrable, deferred = await driver.fetchrow(_DEFERRABLE)
    if deferrable is not None:
        await _set_constraints(driver, f"{deferrable} IMMEDIATE")
    if deferred is not None:
        await driver.execute(f"SET CONSTRAINTS {deferred} DEFERRED")


async def check_all_constraints(driver: asyncpg.Connection) -> None:
    """Check every deferred constraint, also of schemas that the role may not name, before the commit."""
    await _set_constraints(driver, "ALL IMMEDIATE")


async def _set_constraints(driver: asyncpg.Connection, change: str) -> None:
    """Run the triggers of constraints, which are the revisions', under the configured search_path."""
    await driver.execute(f"{CONFIGURED}; SET CONSTRAINTS {change}; {PINNED}")


async def restoring_sql(database: Database, driver: asyncpg.Connection) -> str:
    """Return the text that gives a session the role and the settings that it has now.

    Settings of extensions and roles are not in the view, so those of the URL are set first.
    """
    own = [
        f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false)"
        for name, value in await driver.fetch(_OWN_SETTINGS)
    ]
    resets = ["RESET SESSION AUTHORIZATION", "RESET ROLE", "RESET ALL"]
    return "; ".join([*resets, database.session_sql({}), *own])
