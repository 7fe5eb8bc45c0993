"""Copy the settings of a live database that change what statements do to a scratch database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    import asyncpg

# Settings of the server that affect work, and all that the database, the role or the URL sets. Excluded are
# settings of our own sessions, logging, timeouts, roles, and libraries that the scratch server may lack.
_SETTINGS = """
SELECT name, current_setting(name) AS value
FROM pg_catalog.pg_settings
WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'default_tablespace', 'default_table_access_method')
   OR (source IN ('database', 'user', 'database user', 'session') AND context IN ('user', 'superuser')
       AND name <> 'search_path' AND name NOT LIKE '%timeout' AND name NOT LIKE 'log\\_%'
       AND name NOT LIKE 'ssl%' AND name NOT LIKE '%libraries' AND name <> ALL (ARRAY[
           'application_name', 'client_encoding', 'client_min_messages', 'default_transaction_read_only',
           'transaction_read_only', 'transaction_isolation', 'transaction_deferrable', 'role',
           'session_authorization', 'session_replication_role', 'track_counts',
           'client_connection_check_interval'
       ]))
"""
_EXISTS = {
    "default_tablespace": "SELECT bool_or($1::text IN ('', spcname::text)) FROM pg_catalog.pg_tablespace",
    "default_table_access_method": "SELECT EXISTS (SELECT FROM pg_catalog.pg_am WHERE amname::text = $1)",
}


async def copy_settings(live: Database, scratch: Database) -> tuple[str, ...]:
    """Copy settings for future sessions; return notes about settings that could not be copied.

    The search_path is not copied, as both databases have it from the settings of the deployment.
    """
    if live.settings.url is None:
        return (f"{live.name}: TimeZone and other settings were not copied, because the database has no URL",)
    try:
        async with live.reading() as connection:
            rows = await connection.fetch(_SETTINGS)
    except MigrateError as error:
        return (
            f"{live.name}: TimeZone and other settings could not be read: {error.detail or error.message}",
        )
    connection = await scratch.connect()
    try:
        problems = [await _set(connection, scratch, row["name"], row["value"]) for row in rows]
    finally:
        connection.terminate()
    return tuple(f"{live.name}: {problem}" for problem in problems if problem is not None)


async def _set(connection: asyncpg.Connection, scratch: Database, name: str, value: str) -> str | None:
    """Set a setting of the database; return the problem if that is not possible."""
    import asyncpg

    if name in _EXISTS and not await connection.fetchval(_EXISTS[name], value):
        return f"the scratch database has no {name} {value}"
    target = quote(scratch.address.database)
    try:
        await connection.execute(f"ALTER DATABASE {target} SET {name} = {literal(value)}")
    except asyncpg.PostgresError as error:
        return f"{name} could not be set on the scratch database: {server_message(error)}"
    return None
