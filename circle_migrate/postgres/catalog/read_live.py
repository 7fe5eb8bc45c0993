"""Reading the catalogue of a database that others may be changing meanwhile.

What PostgreSQL prints of a definition is as new as the moment it is printed, while the rows around it are
those of the transaction's snapshot: a reading counts only where the catalogue did not change during it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.core.errors import LockNotObtained, MigrateError, Unreachable
from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.catalog.read import read_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.server_errors import (
    DEADLOCK_DETECTED,
    LOCK_NOT_AVAILABLE,
    server_message,
    sqlstate,
    statement_error,
)

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

ATTEMPTS = 3
PAUSE = 0.2
"""Seconds between attempts; each waits up to two seconds for a lock."""

_LOCKED = {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED}
# A relation that went away while it was described: the server has no SQLSTATE of its own for most of these.
_GONE = ("could not open relation", "cache lookup failed", "could not find", "does not exist")
# On a standby, replaying somebody's DDL ends the queries that are in its way.
_RECOVERY_CONFLICT = "40001"

_WRITTEN = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text
            ELSE pg_current_wal_insert_lsn()::text END
"""
_SEEN = "SELECT pg_current_snapshot()::text"

# The first schema of the search_path, also where the role may not use it: then nobody can tell what is there.
_VERSION_TABLE = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1::name AND c.relkind IN ('r', 'p') AND n.nspname = coalesce($2::name, (
    SELECT n.nspname
    FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY path (name, nth)
    JOIN pg_catalog.pg_namespace n ON n.nspname = replace(btrim(path.name, ' "'), '$user', current_user)
    ORDER BY nth LIMIT 1
))
"""

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


class _ChangedMeanwhileError(Exception):
    """The catalogue is not the one that was begun with."""


async def read_live_catalog(database: Database) -> Snapshot:
    """The catalogue of a live database, with the revisions it is at where the role may read them.

    Never waits long and never holds what others wait for. Raises `LockNotObtained` where a lock was in the
    way or the schema kept changing, `Unreachable` where reading failed, and the errors of connecting.
    """
    async with database.reading() as connection:
        await connection.execute("COMMIT")  # each attempt has its own; a ROLLBACK would undo the settings
        for attempt in range(1, ATTEMPTS):
            try:
                return await _read(connection, database)
            except Exception as error:
                if not _passing(error):
                    raise _fault(error, database.name) from error
            await asyncio.sleep(PAUSE * attempt)
        try:
            return await _read(connection, database)
        except Exception as error:
            if not _passing(error):
                raise _fault(error, database.name) from error
            raise await _given_up(error, connection, database.name) from error


async def _read(connection: asyncpg.Connection, database: Database) -> Snapshot:
    """One attempt. Row versions are compared only where something was written meanwhile."""
    written = await connection.fetchval(_WRITTEN)
    versions = None
    async with read_transaction(connection):
        seen = await connection.fetchval(_SEEN)
        settings = database.settings
        snapshot = await read_catalog(
            connection,
            database.name,
            "live",
            version_table=settings.version_table,
            version_table_schema=settings.version_table_schema,
        )
        revisions = await _revisions(connection, database)
        if written != await connection.fetchval(_WRITTEN):
            versions = await _row_versions(connection)
    # A commit that was under way is not written any more, and still unseen.
    unchanged = seen == await connection.fetchval(_SEEN)
    if not unchanged and (versions is None or versions != await _row_versions(connection)):
        raise _ChangedMeanwhileError
    return replace(snapshot, revisions=revisions)


async def _row_versions(connection: asyncpg.Connection) -> str:
    async with read_transaction(connection, PINS):
        return str(await connection.fetchval(queries.row_versions()))


async def _revisions(connection: asyncpg.Connection, database: Database) -> tuple[str, ...] | None:
    settings = database.settings
    table = await connection.fetchrow(_VERSION_TABLE, settings.version_table, settings.version_table_schema)
    if table is None:
        return ()
    if not table["readable"]:
        return None
    rows = await connection.fetch(f"SELECT version_num::text FROM {table['name']} ORDER BY 1")  # noqa: S608
    return tuple(row[0] for row in rows)


def _passing(error: Exception) -> bool:
    """Whether trying again may help."""
    if isinstance(error, _ChangedMeanwhileError):
        return True
    state = sqlstate(error)
    return state in {*_LOCKED, _RECOVERY_CONFLICT} or (
        state is not None and any(words in server_message(error) for words in _GONE)
    )


async def _given_up(error: Exception, connection: asyncpg.Connection, name: str) -> LockNotObtained:
    holder = await connection.fetchrow(_HOLDER) if sqlstate(error) in _LOCKED else None
    tries = f"nothing was compared; tried {ATTEMPTS} times"
    if holder is not None and holder["replayed"]:
        return LockNotObtained(
            f"{name}: could not compare: the standby holds a lock that somebody took on its primary",
            database=name,
            detail=server_message(error),
            state=tries,
            hint="a migration seems to be running there: try again after it, or ask the primary",
        )
    if holder is not None:
        return LockNotObtained(
            f"{name}: could not compare: {holder['holder']}",
            database=name,
            detail=server_message(error),
            state=tries,
            hint="a migration seems to be running: try again after it; or, if that session is lost: "
            f"SELECT pg_terminate_backend({holder['pid']});",
        )
    known = not isinstance(error, _ChangedMeanwhileError)
    return LockNotObtained(
        f"{name}: could not compare: the schema was being changed while it was read",
        database=name,
        detail=server_message(error) if known else None,
        state=tries,
        hint="a migration seems to be running: try again after it",
    )


def _fault(error: Exception, name: str) -> MigrateError:
    if isinstance(error, MigrateError):
        return error
    return statement_error(error, name, "read the catalogue") or Unreachable(
        f"{name}: the catalogue cannot be read", database=name, detail=server_message(error)
    )
