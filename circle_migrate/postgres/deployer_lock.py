"""The deployer lock: one deployer per database at a time.

A session-level advisory lock on the working connection itself, tried and never waited for inside the
server: a waiter inside `pg_advisory_lock` holds a snapshot, on which the holder's CREATE INDEX CONCURRENTLY
waits in turn. On a connection of its own the lock would come free while the backend of a killed run still
works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.core.errors import LockNotObtained
from circle_migrate.core.events import Event, Kind, Notify

if TYPE_CHECKING:
    import asyncpg

KEY = 0x636972636C652D6D
"""The advisory lock's key, "circle-m" in ASCII; advisory locks are per database, so one key serves all."""

_POLL = (0.1, 1.0)

_HOLDER = """
SELECT a.pid, a.usename AS role, a.application_name AS application, a.client_addr::text AS client,
       extract(epoch FROM clock_timestamp() - a.backend_start)::float8 AS connected,
       a.state
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid IS NOT NULL
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.classid = ($1::bigint >> 32)::oid AND l.objid = ($1::bigint & 4294967295)::oid
"""


class LockHolder(NamedTuple):
    """The session that has the deployer lock; `connected` is how long it has been connected, in seconds."""

    pid: int
    role: str | None
    application: str | None
    client: str | None
    connected: float | None

    def __str__(self) -> str:
        who = f"pid {self.pid}"
        if self.application:
            who += f" ({self.application}"
            who += f", role {self.role}" if self.role else ""
            who += f", connected for {self.connected:.0f} s)" if self.connected is not None else ")"
        return who


async def find_lock_holder(connection: asyncpg.Connection) -> LockHolder | None:
    """Who has the deployer lock of the connection's database; None where nobody has."""
    row = await connection.fetchrow(_HOLDER, KEY)
    if row is None:
        return None
    return LockHolder(row["pid"], row["role"], row["application"], row["client"], row["connected"])


@asynccontextmanager
async def deployer_lock(
    connection: asyncpg.Connection, database: str, wait: float, notify: Notify
) -> AsyncIterator[None]:
    """Hold the deployer lock of a database; `connection` must be outside any transaction.

    Waits up to `wait` seconds and notifies of the holder once. Raises `LockNotObtained` with the holder.
    """
    deadline = time.monotonic() + wait
    seen: LockHolder | None = None
    told = False
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", KEY):
        seen = await find_lock_holder(connection) or seen
        if time.monotonic() >= deadline:
            raise LockNotObtained(
                f"{database}: another deployer is at work: {seen or 'unknown'}",
                database=database,
                state=f"nothing was changed; waited {wait:g} s",
                hint="wait longer with --lock-wait SECONDS, or, if that session is lost: "
                + (f"SELECT pg_terminate_backend({seen.pid});" if seen else "see pg_locks"),
            )
        if not told:
            notify(Event(Kind.WAITING, database, f"for another deployer: {seen or 'unknown'}"))
            told = True
        import random

        pause = random.uniform(*_POLL)  # noqa: S311 - jitter, not a secret
        await asyncio.sleep(min(pause, max(deadline - time.monotonic(), 0.01)))
    try:
        yield
    finally:
        await _unlock(connection)


async def _unlock(connection: asyncpg.Connection) -> None:
    """Give the lock back even while being cancelled; the end of the session does it in any case."""
    if connection.is_closed():
        return
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(connection.execute(f"SELECT pg_advisory_unlock({KEY})"))
    except Exception:  # noqa: BLE001 - a session that cannot answer is ended, and its lock with it
        connection.terminate()
