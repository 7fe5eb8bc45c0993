"""Settings of a live database that sessions of its scratch database get: they decide what statements mean."""

from collections.abc import Iterable, Mapping

import asyncpg

from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.identifier import literal
from circle_migrate.postgres.server_errors import server_message

Settings = Mapping[str, Mapping[str, str]]
"""The settings by name, by database."""

NO_SETTINGS: Settings = {}

# Settings of the server that affect what statements mean and do, and all that the database, the role or the
# URL sets. Excluded are settings of our own sessions, logging, timeouts, roles, and libraries that the
# scratch server may lack.
_SETTINGS = """
SELECT name, current_setting(name) AS value
FROM pg_catalog.pg_settings
WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'default_tablespace', 'default_table_access_method',
               'standard_conforming_strings', 'array_nulls', 'transform_null_equals')
   OR (source IN ('database', 'user', 'database user', 'session') AND context IN ('user', 'superuser')
       AND name <> 'search_path' AND name NOT LIKE '%timeout' AND left(name, 4) <> 'log_'
       AND name NOT LIKE 'ssl%' AND name NOT LIKE '%libraries' AND name <> ALL (ARRAY[
           'application_name', 'client_encoding', 'client_min_messages', 'default_transaction_read_only',
           'transaction_read_only', 'transaction_isolation', 'transaction_deferrable', 'role',
           'session_authorization', 'session_replication_role', 'track_counts',
           'client_connection_check_interval'
       ]))
ORDER BY name
"""


async def read_settings(databases: Iterable[Database]) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings without the search_path, which both have, and notes on what could not be read."""
    settings, notes = {}, []
    for live in databases:
        if live.settings.url is None:
            reason = "were not copied, because the database has no URL"
        else:
            try:
                async with live.reading() as connection:
                    settings[live.name] = await settings_over(connection)
                continue
            except MigrateError as error:
                reason = f"could not be read: {error.detail or error.message}"
        notes.append(f"{live.name}: TimeZone and other settings {reason}")
    return settings, tuple(notes)


async def settings_over(connection: asyncpg.Connection) -> Mapping[str, str]:
    """Return the settings of one database."""
    return {row["name"]: row["value"] for row in await connection.fetch(_SETTINGS)}


async def accepted(
    connection: asyncpg.Connection, database: str, settings: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the settings that the scratch server accepts, and notes on the others."""
    result, notes = {}, []
    for name, value in settings.items():
        try:
            await connection.execute(f"SET LOCAL {name} = {literal(value)}")
        except asyncpg.PostgresError as error:
            reason = f"could not be set on the scratch database: {server_message(error)}"
            notes.append(f"{database}: {name} {reason}")
        else:
            result[name] = value
    return result, notes
