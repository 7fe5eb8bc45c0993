"""Settings of a live database that change what statements do there, given to the scratch database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    import asyncpg

# Those of the server that decide about work, and all that the database, the role or the URL sets; without
# what a session for work sets by itself, what only tells or limits, who is connected, and libraries that
# the other server may not have.
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
    """Give the scratch database the live one's settings, for sessions to come; notes say what it lacks.

    The search_path is in the settings of the deployment, which both have.
    """
    if live.settings.url is None:
        return (f"{live.name}: no live database was asked for its TimeZone and other settings",)
    try:
        async with live.reading() as connection:
            rows = await connection.fetch(_SETTINGS)
    except MigrateError as error:
        return (f"{live.name}: its TimeZone and other settings are unknown: {error.detail or error.message}",)
    connection = await scratch.connect()
    try:
        answers = [await _set(connection, scratch, row["name"], row["value"]) for row in rows]
    finally:
        connection.terminate()
    return tuple(f"{live.name}: {answer}" for answer in answers if answer is not None)


async def _set(connection: asyncpg.Connection, scratch: Database, name: str, value: str) -> str | None:
    """Set it on the database; the reason where that cannot be done."""
    import asyncpg

    if name in _EXISTS and not await connection.fetchval(_EXISTS[name], value):
        return f"the scratch database has no {name} {value}"
    target = quote(scratch.address.database)
    try:
        await connection.execute(f"ALTER DATABASE {target} SET {name} = {literal(value)}")
    except asyncpg.PostgresError as error:
        return f"{name} could not be set on the scratch database: {server_message(error)}"
    return None
