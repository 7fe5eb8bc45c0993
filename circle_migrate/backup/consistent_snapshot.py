"""One moment of all databases: a transaction on each whose snapshot others can take over.

What that guarantees stands in docs/backup.md: each snapshot is a transactionally consistent state of its own
database; both are taken within the time that is measured here; no deployer migrates meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import BackupFailed, MigrateError
from circle_migrate.core.events import Notify
from circle_migrate.postgres.database import APPLICATION_NAME, Database, State
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.server_errors import server_message

if TYPE_CHECKING:
    import asyncpg

NAME = f"{APPLICATION_NAME} backup"

_EXPORT = """
SELECT pg_export_snapshot() AS snapshot,
       to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS moment
"""


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """A database at one moment: `snapshot` is the name under which others can read the same state.

    It lasts as long as the transaction of `connection`. `database` is reached at exactly one address, since
    another host would not know the snapshot.
    """

    database: Database
    connection: asyncpg.Connection
    state: State
    snapshot: str
    at: str


@dataclass(frozen=True, slots=True)
class ConsistentSnapshots:
    """All databases at their moments, at most `apart` milliseconds from one another; `locked` as asked."""

    of: Mapping[str, ExportedSnapshot]
    skew_ms: float
    locked: bool


@asynccontextmanager
async def export_snapshots(
    databases: Mapping[str, Database], wait: float, notify: Notify, *, locked: bool
) -> AsyncIterator[ConsistentSnapshots]:
    """Hold the moments of the databases open while the block runs.

    The deployer locks are taken first, in the given order, and kept to the end; not where the caller has
    them (`locked`), nor on a standby, where nobody can migrate and a lock would hold nobody back. `wait` is
    in seconds. Raises `LockNotObtained`, and the errors of connecting.
    """
    async with AsyncExitStack() as stack:
        opened = {}
        guarded = True
        for name, database in databases.items():
            reached, connection = await _reached(database)
            stack.callback(connection.terminate)
            opened[name] = (reached, connection)
            if locked:
                continue
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                guarded = False
            else:
                await stack.enter_async_context(deployer_lock(connection, name, wait, notify))
        for _, connection in opened.values():
            await connection.execute(_timeouts_off(connection.get_server_version().major))
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        began = time.monotonic()
        rows = await asyncio.gather(*(connection.fetchrow(_EXPORT) for _, connection in opened.values()))
        apart = (time.monotonic() - began) * 1000
        found = {
            name: ExportedSnapshot(
                database, connection, await database.read_state(connection), row["snapshot"], row["moment"]
            )
            for (name, (database, connection)), row in zip(opened.items(), rows, strict=True)
        }
        yield ConsistentSnapshots(found, round(apart, 3), guarded)


async def ensure_sessions_alive(taken: ConsistentSnapshots) -> None:
    """Raise `BackupFailed` where a session was lost, and with it the lock that kept deployers away."""
    for name, moment in taken.of.items():
        try:
            await moment.connection.execute("SELECT")
        except Exception as error:
            raise BackupFailed(
                f"{name}: the session that holds the deployer lock was lost during the dump",
                database=name,
                detail=server_message(error),
                state="there is no backup; the databases were only read",
                hint="run the same command again",
            ) from error


def _timeouts_off(major: int) -> str:
    """A session whose transaction lasts as long as a dump."""
    names = ["idle_in_transaction_session_timeout", *(["transaction_timeout"] if major >= 17 else [])]
    return ";".join(f"SET {name} = 0" for name in names)


async def _reached(database: Database) -> tuple[Database, asyncpg.Connection]:
    """The database at the one of its hosts that answers, and a connection to it."""
    endpoints = database.address.endpoints
    for position, endpoint in enumerate(endpoints):
        address = database.address._replace(endpoints=(endpoint,))
        pinned = Database(database.settings._replace(url=address))
        try:
            return pinned, await pinned.connect(NAME)
        except MigrateError:
            if position == len(endpoints) - 1:
                raise
    raise AssertionError("an address has at least one host")
