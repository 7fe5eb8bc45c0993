"""Exported snapshots of all databases, taken as close together in time as possible.

docs/backup.md states the guarantees: the snapshot of a database is transactionally consistent, all snapshots
are exported within `skew_ms`, and no deployer migrates meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from circle_migrate.core.errors import BackupFailed, MigrateError
from circle_migrate.core.events import Notify
from circle_migrate.migrate.session import ensure_dedicated_session
from circle_migrate.postgres.database import APPLICATION_NAME, Database, State
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.server_errors import server_message

NAME = f"{APPLICATION_NAME} backup"
NO_BACKUP = "there is no backup; the databases were only read"
"""State of a failed backup."""

_EXPORT = """
SELECT pg_export_snapshot() AS snapshot,
       to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS exported_at
"""


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """The snapshot of one database, valid until the transaction of `connection` ends.

    `snapshot` is the name that pg_dump imports. `database` has exactly one host, since another host does not
    know the snapshot.
    """

    database: Database
    connection: asyncpg.Connection
    state: State
    snapshot: str
    exported_at: str


@dataclass(frozen=True, slots=True)
class ConsistentSnapshots:
    """The snapshots by database, exported within `skew_ms` milliseconds.

    `locked` says whether the deployer lock of every database is held.
    """

    by_database: Mapping[str, ExportedSnapshot]
    skew_ms: float
    locked: bool


@asynccontextmanager
async def export_snapshots(
    databases: Mapping[str, Database], wait: float, notify: Notify, *, locked: bool
) -> AsyncIterator[ConsistentSnapshots]:
    """Hold a snapshot of every database open while the block runs.

    Takes the deployer locks first, in the given order, and waits at most `wait` seconds for each. It takes no
    lock if the caller holds them (`locked`), and none on a standby, where nobody can migrate. Raises
    `LockNotObtained` and the errors of connecting.
    """
    async with AsyncExitStack() as stack:
        sessions = {}
        all_locked = True
        for name, database in databases.items():
            pinned, connection = await _connect_to_one_host(database)
            stack.callback(connection.terminate)
            await ensure_dedicated_session(pinned, connection)
            sessions[name] = (pinned, connection)
            if locked:
                continue
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                all_locked = False
            else:
                await stack.enter_async_context(deployer_lock(connection, name, wait, notify))
        for _, connection in sessions.values():
            await connection.execute(_disable_timeouts_sql(connection.get_server_version().major))
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        started = time.monotonic()
        rows = await asyncio.gather(*(connection.fetchrow(_EXPORT) for _, connection in sessions.values()))
        skew_ms = round((time.monotonic() - started) * 1000, 3)
        snapshots = {
            name: ExportedSnapshot(pinned, connection, await pinned.read_state(connection), **row)
            for (name, (pinned, connection)), row in zip(sessions.items(), rows, strict=True)
        }
        yield ConsistentSnapshots(snapshots, skew_ms, all_locked)


async def ensure_sessions_alive(snapshots: ConsistentSnapshots) -> None:
    """Raise `BackupFailed` if a session was lost, and with it the deployer lock."""
    for name, snapshot in snapshots.by_database.items():
        try:
            await snapshot.connection.execute("SELECT")
        except Exception as error:
            raise BackupFailed(
                f"{name}: the session that holds the deployer lock was lost during the dump",
                database=name,
                detail=server_message(error),
                state=NO_BACKUP,
                hint="run the same command again",
            ) from error


def _disable_timeouts_sql(major: int) -> str:
    """Return SQL that lets a transaction of the session last as long as a dump."""
    names = ["idle_in_transaction_session_timeout", *(["transaction_timeout"] if major >= 17 else [])]
    return ";".join(f"SET {name} = 0" for name in names)


async def _connect_to_one_host(database: Database) -> tuple[Database, asyncpg.Connection]:
    """Return the database with only the first of its hosts that answers, and a connection to it."""
    endpoints = database.address.endpoints
    for endpoint in endpoints:
        pinned = Database(database.settings._replace(url=database.address._replace(endpoints=(endpoint,))))
        try:
            return pinned, await pinned.connect(NAME)
        except MigrateError:
            if endpoint is endpoints[-1]:
                raise
    raise AssertionError("an address has at least one host")
