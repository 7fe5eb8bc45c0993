"""The search_path of our connections.

Our own queries run with `pg_catalog` only: a role that may create objects in a schema of the configured path
could otherwise give them functions and operators with better fitting argument types. Only statements of
revisions, and what fires their triggers, see the configured path. A setting on the server stores it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.errors import MissingPrivilege, Unreachable
from circle_migrate.postgres.identifier import quote, split_list

if TYPE_CHECKING:
    import asyncpg

SETTING = "circle_migrate.search_path"
"""The setting that has the configured path, as the server prints it."""

PINNED = "SET search_path = pg_catalog"
"""The statement before our own queries."""

CONFIGURED = f"""SELECT pg_catalog.set_config('search_path', COALESCE(
    pg_catalog.current_setting('{SETTING}', true), pg_catalog.current_setting('search_path')), false)"""
"""The statement before those of revisions; a rollback undoes it. Other connections keep their path."""

PINNED_LOCALLY = PINNED.replace("SET", "SET LOCAL")
"""`PINNED` until the transaction ends."""

CONFIGURED_LOCALLY = CONFIGURED.replace("false", "true")
"""`CONFIGURED` until the transaction ends."""

SCHEMA_SETTING = "circle_migrate.schema"
"""The setting that has the value of `FIRST_SCHEMA`."""

FIRST_SCHEMA = f"nullif(current_setting('{SCHEMA_SETTING}', true), '')"
"""The first schema of the configured path that exists and the role may use, as `pin` found it; or NULL."""

_REMEMBER = f"""SELECT
    pg_catalog.set_config('{SETTING}', pg_catalog.current_setting('search_path'), false),
    pg_catalog.set_config('{SCHEMA_SETTING}', COALESCE(pg_catalog.current_schema()::text, ''), false)"""


def pin(configured: str) -> str:
    """Return the statements that remember the configured path and pin ours, in one message."""
    return f"SET search_path = {configured};{_REMEMBER};{PINNED}"


TRUSTED_OWNERS = """
WITH RECURSIVE own (oid) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user
    UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN own ON m.member = own.oid
)
TABLE own UNION SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper OR rolname = 'pg_database_owner'
UNION SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database()
"""
"""The role, those of which it is a member (pg_has_role names all to superusers), superusers, the owner."""


async def no_schema_error(connection: asyncpg.Connection, database: str, role: str) -> Unreachable:
    """Return the error for a search_path without a schema that exists and that the role may use."""
    path = split_list(await connection.fetchval(f"SELECT current_setting('{SETTING}')"))
    names = [role if name == "$user" else name for name in path]
    query = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1::text[])"
    existing = {row["nspname"] for row in await connection.fetch(query, names)}
    if existing:
        schemas = ", ".join(quote(name) for name in names if name in existing)
        message = f"{database}: the role {role!r} has USAGE on no schema of its search_path: {schemas}"
        hint = f"GRANT USAGE ON SCHEMA {schemas} TO {quote(role)};"
        return MissingPrivilege(message, database=database, hint=hint)
    name = next((name for name in path if name != "$user"), role)
    return Unreachable(
        f"{database}: no schema of the search_path exists: {', '.join(names) or 'it is empty'}",
        database=database,
        hint=f"correct search-path, or, as a role with CREATE on the database: CREATE SCHEMA {quote(name)} "
        f"AUTHORIZATION {quote(role)};",
    )
