"""Connections of sign-in: a small pool for each database, and a limit for each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import asyncpg
from fastapi import HTTPException

from circle_migrate.api.snapshot import LOG
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres import server_errors
from circle_migrate.postgres.database import terminated_on_error
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.search_path import CONFIGURED

MAIN, CREDENTIALS = "main", "credentials"

LIMIT = 5.0
"""Seconds of an answer."""

_IDLE_SECONDS = 60.0
_CLOSE_SECONDS = 2.0
# The server ends what nobody waits for any more.
_SESSION = (
    f"SET statement_timeout = '{LIMIT:g}s'; SET idle_in_transaction_session_timeout = '{LIMIT * 2:g}s';"
    f"{CONFIGURED}"
)
_NOT_STORABLE = "22"
"""The class of SQLSTATE for values, such as a character that the encoding of the database lacks."""

UNAVAILABLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, MigrateError)
"""The errors of a database, or of the way to it."""


def is_lost(error: BaseException) -> bool:
    """Return whether it is unknown what became of the statement that was sent."""
    state = getattr(error, "sqlstate", None) or ""
    return not isinstance(error, asyncpg.PostgresError) or state.startswith(("08", "57P"))


def within_limit(answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let a function answer 503 where a database does not answer in time; only the log says why."""

    @wraps(answer)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        try:
            async with asyncio.timeout(LIMIT):
                return await answer(*args, **kwargs)
        except UNAVAILABLE as error:
            if (getattr(error, "sqlstate", None) or "").startswith(_NOT_STORABLE):
                raise HTTPException(422, "the database cannot store one of the values") from error
            log_failure("no answer", error)
            raise HTTPException(503, "sign-in is not available; try again") from error

    return limited


def log_failure(what: str, error: BaseException) -> None:
    """Log an error of a database without values of statements."""
    reason = str(error) if isinstance(error, MigrateError) else server_errors.server_message(error)
    LOG.error(f"sign-in: {what}: {reason}")


class Connections:
    """Pools of at most `size` connections, made at first use; the settings are those of the command line."""

    def __init__(self, open_deployment: Callable[[], Deployment], size: int) -> None:
        self._open_deployment, self._size = open_deployment, size
        self._pools: dict[str, asyncpg.Pool] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection. Raises an error of `UNAVAILABLE`."""
        pool = self._pools.get(name) or await self._open(name)
        connection = await pool.acquire()
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()  # or its release would wait for a server that does not answer
            raise
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection in a transaction, which is committed at the end and rolled back by an error."""
        async with self.connected(name) as connection:
            await connection.execute("BEGIN")
            try:
                yield connection
                await connection.execute("COMMIT")
            except Exception:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise

    async def close(self) -> None:
        """Close all connections."""
        pools, self._pools = self._pools, {}
        self._opening = asyncio.Lock()  # the next event loop needs another one
        for pool in pools.values():
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                pool.terminate()

    async def _open(self, name: str) -> asyncpg.Pool:
        async with self._opening:
            if name not in self._pools:
                deployment = await asyncio.to_thread(self._open_deployment)
                deployment.settings.ensure_database(name)
                database = deployment.databases[name]

                async def connect(*_: object, **__: object) -> asyncpg.Connection:
                    connection = await database.connect("circle-migrate sign-in")
                    with terminated_on_error(connection):
                        await connection.execute(_SESSION)
                    return connection

                self._pools[name] = await asyncpg.create_pool(
                    connect=connect,
                    min_size=0,
                    max_size=self._size,
                    max_inactive_connection_lifetime=_IDLE_SECONDS,
                    reset=_keep_settings,
                )
            return self._pools[name]


async def _keep_settings(_: object) -> None:
    """Reset nothing: no statement of ours changes the session."""
