"""Sessions for work: their settings, what sits between us and the server, and a watch over each.

Every working connection has a second one beside it. That one notices when the network is gone, says who
blocks the step that is running, and reads the progress of index builds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, SettingsError, Unreachable
from circle_migrate.core.events import Kind
from circle_migrate.postgres.database import APPLICATION_NAME, Database

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

CONNECTION_CHECK = "500ms"
"""How often a backend looks whether we are still there; else it works on to the end of its statement."""

WATCH = 0.5
"""Seconds between two looks at the server: who blocks us, how far is the index build, is it there at all."""

HEARTBEAT = 5.0
"""Seconds an answer may take before the connection counts as gone."""

_BLOCKERS = """
SELECT a.pid, a.usename AS role, a.application_name AS application, a.state,
       extract(epoch FROM clock_timestamp() - coalesce(a.query_start, a.xact_start))::float8 AS seconds,
       regexp_replace(left(a.query, 120), '\\s+', ' ', 'g') AS query
FROM unnest(pg_blocking_pids($1)) AS blocking (pid) LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
ORDER BY a.xact_start NULLS LAST
"""

_INDEX_BUILD = """
SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total,
       current_locker_pid
FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1
"""

_SETTINGS_SINCE = {
    "client_connection_check_interval": (14, CONNECTION_CHECK),
    "idle_session_timeout": (14, "0"),
    "transaction_timeout": (17, "0"),
}
"""Settings of a working session that older servers do not know: since which major version, and the value."""


@dataclass(frozen=True, slots=True)
class Session:
    """A working connection, the driver's connection below it, and its backend's process id."""

    connection: AsyncConnection
    driver: asyncpg.Connection
    pid: int


@asynccontextmanager
async def working_session(database: Database, run: str, lock_timeout: float) -> AsyncIterator[Session]:
    """A session for steps of a run; `lock_timeout` in seconds.

    Raises `SettingsError` behind a pooler that hands a session to several clients, or where a setting
    does not hold.
    """
    settings = {
        "lock_timeout": f"{round(lock_timeout * 1000)}ms",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    async with database.working(f"{APPLICATION_NAME} {run[:8]}", settings) as connection:
        raw = await connection.get_raw_connection()
        driver: asyncpg.Connection = raw.driver_connection
        for name, (since, value) in _SETTINGS_SINCE.items():
            if driver.get_server_version().major >= since:
                await driver.execute(f"SET {name} = '{value}'")
        pid = await _verified(database, driver, lock_timeout)
        yield Session(connection, driver, pid)


async def _verified(database: Database, driver: asyncpg.Connection, lock_timeout: float) -> int:
    row = await driver.fetchrow(
        "SELECT pg_backend_pid() AS pid, "
        "extract(epoch FROM current_setting('lock_timeout')::interval)::float8 AS wait"
    )
    pid: int = row["pid"]
    if pid != driver.get_server_pid():
        await _ensure_dedicated_session(database, driver, pid)
    if abs(row["wait"] - lock_timeout) > 0.001:
        raise SettingsError(
            f"{database.name}: lock_timeout was set to {lock_timeout:g} s and the server has {row['wait']} s",
            database=database.name,
            hint="a pooler in between drops settings; give the server's direct URL for migrations",
        )
    return pid


async def _ensure_dedicated_session(database: Database, driver: asyncpg.Connection, pid: int) -> None:
    """Behind a pooler: find out whether it lends our server session to others between two statements.

    While another client of the pooler holds a transaction open, a session of our own stays ours; a shared
    one has been lent to that client.
    """
    other = await database.connect()
    try:
        async with other.transaction():
            lent = await other.fetchval("SELECT pg_backend_pid()")
            now = await driver.fetchval("SELECT pg_backend_pid()")
    finally:
        await other.close()
    if lent == pid or now != pid:
        raise SettingsError(
            f"{database.name}: {database.address.display()} is a pooler in transaction mode; "
            "locks and settings of a session do not hold there",
            database=database.name,
            state="nothing was changed",
            hint="give the server's direct URL for migrations, or a pool in session mode",
        )


@asynccontextmanager
async def monitor(
    database: Database,
    session: Session,
    tell: Callable[[Kind, str, str], None],
    give_up: Callable[[Unreachable], None],
) -> AsyncIterator[None]:
    """Watch over a session while the block runs; `tell(kind, database, text)` says when it waits or builds.

    `give_up` is called when the server does not answer in time and cannot be connected to anew.
    """
    watcher = asyncio.create_task(_watch(database, session, tell, give_up))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _watch(
    database: Database,
    session: Session,
    tell: Callable[[Kind, str, str], None],
    give_up: Callable[[Unreachable], None],
) -> None:
    side = await database.connect(f"{APPLICATION_NAME} watch")
    told = (Kind.WORKING, "")
    try:
        while True:
            await asyncio.sleep(WATCH)
            try:
                # Not wait_for: in Python 3.11 that drops a cancellation which comes with the server's end.
                async with asyncio.timeout(HEARTBEAT):
                    seen = await _poll(side, session.pid)
            except Exception:  # noqa: BLE001 - it may be this connection alone that has gone
                side.terminate()
                try:
                    side = await database.connect(f"{APPLICATION_NAME} watch")
                except MigrateError as error:
                    session.driver.terminate()
                    give_up(_lost_connection_error(database, error))
                    return
                continue
            if seen != told:
                tell(seen[0], database.name, seen[1])
            told = seen
    finally:
        side.terminate()


def _lost_connection_error(database: Database, error: MigrateError) -> Unreachable:
    return Unreachable(
        f"{database.name}: the server no longer answers",
        database=database.name,
        detail=error.detail or error.message,
        hint="when it is back, `circle-migrate current` says where the databases are",
    )


async def _poll(side: asyncpg.Connection, pid: int) -> tuple[Kind, str]:
    rows = await side.fetch(_BLOCKERS, pid)
    if rows:
        return Kind.WAITING, "for " + "; ".join(_blocker(row) for row in rows[:3])
    row = await side.fetchrow(_INDEX_BUILD, pid)
    return (Kind.BUILDING, _progress(row)) if row is not None else (Kind.WORKING, "")


def _blocker(row: asyncpg.Record) -> str:
    if row["pid"] in (0, None):
        return "a prepared transaction"
    who = f"pid {row['pid']} ({row['role'] or '?'}, {row['application'] or 'no name'}, {row['state'] or '?'})"
    age = f" for {row['seconds']:.0f} s" if row["seconds"] is not None else ""
    return f"{who}{age}: {row['query']}" if row["query"] else who + age


def _progress(row: asyncpg.Record) -> str:
    for kind in ("blocks", "tuples", "lockers"):
        done, total = row[f"{kind}_done"], row[f"{kind}_total"]
        if total:
            return f"the index: {row['phase']}, {done} of {total} {kind}"
    return f"the index: {row['phase']}"
