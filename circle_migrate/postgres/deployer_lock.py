"""The deployer lock: one deployer per database at a time.

A session-level advisory lock of the working connection. The client polls `pg_try_advisory_lock`: a session
that waits in `pg_advisory_lock` holds a snapshot, for which CREATE INDEX CONCURRENTLY of the holder would
wait. On a separate connection, the lock would be released while the backend of a killed run still works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.core.errors import LockNotObtained
from circle_migrate.core.events import Event, EventKind, Notify

if TYPE_CHECKING:
    import asyncpg

KEY = 0x636972636C652D6D
"""The key of the advisory lock, "circle-m" in ASCII; advisory locks are per database."""

_TRY = f"pg_catalog.pg_try_advisory_lock({KEY})"
_ACQUIRE = f"SELECT {_TRY} AND {_TRY}"  # twice, so that CHECK_HELD can release one of them

NOT_HELD = f"NOT CASE WHEN pg_catalog.pg_advisory_unlock({KEY}) THEN {_TRY} ELSE false END"
"""The condition that the session has lost the lock, see `CHECK_HELD`."""

CHECK_HELD = f"SELECT WHERE {NOT_HELD}"
"""The statement whose answer is `RELEASED` if the session has lost the lock, by `DISCARD ALL` for example.

Unlike a query of pg_locks, it takes no longer when the session holds many other locks.
"""

HELD, RELEASED = "SELECT 0", "SELECT 1"

_POLL_SECONDS = (0.1, 1.0)

IS_DEPLOYER = f"""
      l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid IS NOT NULL
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.classid = {KEY >> 32}::oid AND l.objid = {KEY & 0xFFFFFFFF}::oid
"""  # noqa: S608 - constants
"""The condition of the rows `l` of pg_locks for the lock of the current database."""

_HOLDER = f"""
SELECT a.pid, a.usename AS role, a.application_name AS application, a.client_addr::text AS client,
       extract(epoch FROM clock_timestamp() - a.backend_start)::float8 AS connected,
       pg_catalog.pg_blocking_pids(l.pid) AS blocked_by
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) WHERE {IS_DEPLOYER}
"""  # noqa: S608 - constants


class LockHolder(NamedTuple):
    """The session that holds the deployer lock.

    `connected` is the age of the session in seconds, `blocked_by` the sessions whose locks it waits for.
    """

    pid: int
    role: str | None
    application: str | None
    client: str | None
    connected: float | None
    blocked_by: Sequence[int] = ()

    def __str__(self) -> str:
        if not self.application:
            return f"pid {self.pid}"
        role = f", role {self.role}" if self.role else ""
        age = f", connected for {self.connected:.0f} s" if self.connected is not None else ""
        return f"pid {self.pid} ({self.application}{role}{age})"


async def find_lock_holder(connection: asyncpg.Connection) -> LockHolder | None:
    """Return the holder of the deployer lock of the connection's database, or None."""
    row = await connection.fetchrow(_HOLDER)
    return None if row is None else LockHolder(**row)


async def acquire(connection: asyncpg.Connection) -> bool:
    """Acquire the lock if it is free, and return whether it was."""
    return bool(await connection.fetchval(_ACQUIRE))


@asynccontextmanager
async def deployer_lock(
    connection: asyncpg.Connection, database: str, wait: float, notify: Notify
) -> AsyncIterator[None]:
    """Hold the deployer lock of a database outside of a transaction, after at most `wait` seconds."""
    deadline = time.monotonic() + wait
    holder: LockHolder | None = None
    notified = False
    while not await acquire(connection):
        holder = await find_lock_holder(connection) or holder
        if time.monotonic() >= deadline:
            raise LockNotObtained(
                f"{database}: another deployer holds the lock: {holder or 'unknown'}",
                database=database,
                state=f"nothing was changed; waited {wait:g} s",
                hint="wait longer with --lock-wait SECONDS, or, if that session is lost: "
                + (f"SELECT pg_terminate_backend({holder.pid});" if holder else "see pg_locks"),
            )
        if not notified:
            notify(Event(EventKind.WAITING, database, f"for another deployer: {holder or 'unknown'}"))
            notified = True
        import random

        pause = random.uniform(*_POLL_SECONDS)  # noqa: S311 - jitter, not a secret
        await asyncio.sleep(min(pause, max(deadline - time.monotonic(), 0.01)))
    try:
        yield
    finally:
        await _unlock(connection)


async def _unlock(connection: asyncpg.Connection) -> None:
    """Release the lock, even during a cancellation; the end of the session releases it in any case."""
    if connection.is_closed():
        return
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(connection.execute("SELECT pg_catalog.pg_advisory_unlock_all()"))
    except Exception:  # noqa: BLE001 - ending the session releases the lock
        connection.terminate()
