"""Read the catalog of a database that other sessions may be changing.

PostgreSQL prints definitions as of now, but reads rows as of the transaction's snapshot. So a result is valid
only if the catalog did not change in the meantime.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace

import asyncpg

from circle_migrate.core.errors import LockNotObtained, MigrateError, MissingPrivilege, Refused
from circle_migrate.postgres import server_errors
from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database

ATTEMPTS = 3
PAUSE = 0.2
"""Seconds between attempts; an attempt waits up to two seconds for a lock."""

# Messages about a relation that was dropped in the meantime; most have no specific SQLSTATE.
_DROPPED_MESSAGES = ("could not open relation", "cache lookup failed", "could not find", "does not exist")
# On a standby, replay of DDL cancels conflicting queries.
_RECOVERY_CONFLICT = "40001"

_WAL_POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text
            ELSE pg_current_wal_insert_lsn()::text END
"""
_TRANSACTION_SNAPSHOT = "SELECT pg_current_snapshot()::text"

_HOLDER = """
SELECT format('pid %s (%s, role %s) holds a lock on %s', l.pid, coalesce(NULLIF(a.application_name, ''), '?'),
              coalesce(a.usename, '?'), coalesce(n.nspname || '.' || c.relname, '?')) AS holder, l.pid,
       pg_is_in_recovery() AS replayed
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
ORDER BY l.relation < 16384, a.xact_start LIMIT 1
"""


class _ConcurrentChangeError(Exception):
    """The catalog changed while it was read."""


async def read_live_catalog(database: Database) -> Snapshot:
    """Return the catalog of a live database, and its current revisions if the role may read them.

    Waits only briefly for locks, and holds none for long. Raises `LockNotObtained` if another session holds a
    lock or keeps changing the schema, `Unreachable` if reading fails, and the errors of connecting.
    """
    async with database.reading() as connection:
        return await read_catalog_over(connection, database)


async def read_catalog_over(connection: asyncpg.Connection, database: Database) -> Snapshot:
    """Return the catalog as `read_live_catalog` over a connection for reading; its transaction ends."""
    await connection.execute("COMMIT")  # attempts have their own; ROLLBACK would undo the settings
    attempt = 1
    while True:
        try:
            return await _read(connection, database)
        except Exception as error:
            if not _is_transient(error):
                if isinstance(error, MigrateError):
                    raise
                raise server_errors.named_error(error, database.name, "read the catalog") from error
            if attempt == ATTEMPTS:
                raise await _transient_error(error, connection, database.name) from error
        await asyncio.sleep(PAUSE * attempt)
        attempt += 1


async def _read(connection: asyncpg.Connection, database: Database) -> Snapshot:
    """Make one attempt. Row versions are compared only if WAL was written in the meantime."""
    wal_position = await connection.fetchval(_WAL_POSITION)
    versions = None
    async with read_transaction(connection):
        transaction_snapshot = await connection.fetchval(_TRANSACTION_SNAPSHOT)
        settings = database.settings
        table = settings.version_table, settings.version_table_schema
        snapshot = await read_catalog(connection, database.name, "live", *table)
        revisions: tuple[str, ...] | None = None
        with suppress(MissingPrivilege):  # to read them
            async with read_transaction(connection):
                revisions = (await database.read_state(connection)).current
        if wal_position != await connection.fetchval(_WAL_POSITION):
            versions = await _row_versions(connection)
    # A commit in progress has written its WAL already, but is not yet visible.
    unchanged = transaction_snapshot == await connection.fetchval(_TRANSACTION_SNAPSHOT)
    if not unchanged and (versions is None or versions != await _row_versions(connection)):
        raise _ConcurrentChangeError
    return replace(snapshot, revisions=revisions)


async def _row_versions(connection: asyncpg.Connection) -> str:
    async with read_transaction(connection, PINS):
        return str(await connection.fetchval(queries.row_versions()))


def _is_transient(error: Exception) -> bool:
    """Return whether another attempt may succeed."""
    if isinstance(error, _ConcurrentChangeError | Refused):
        return isinstance(error, _ConcurrentChangeError)
    state = server_errors.sqlstate(error)
    return state in {*server_errors.LOCK_CONFLICTS, _RECOVERY_CONFLICT} or (
        state is not None and any(text in server_errors.server_message(error) for text in _DROPPED_MESSAGES)
    )


async def _transient_error(error: Exception, connection: asyncpg.Connection, name: str) -> LockNotObtained:
    is_locked = server_errors.sqlstate(error) in server_errors.LOCK_CONFLICTS
    holder = await connection.fetchrow(_HOLDER) if is_locked else None
    reason = "another session changed the schema while it was read"
    hint = "a migration seems to be running: try again after it"
    if holder is not None and holder["replayed"]:
        reason = "the standby holds a lock that a session of its primary took"
        hint += ", or compare the primary"
    elif holder is not None:
        reason = holder["holder"]
        hint += f"; or, if that session is lost: SELECT pg_terminate_backend({holder['pid']});"
    return LockNotObtained(
        f"{name}: could not compare: {reason}",
        database=name,
        detail=None if isinstance(error, _ConcurrentChangeError) else server_errors.server_message(error),
        state=f"nothing was compared; tried {ATTEMPTS} times",
        hint=hint,
    )
