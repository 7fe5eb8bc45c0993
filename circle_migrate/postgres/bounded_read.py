"""Read live databases in READ ONLY transactions, with limits on time and on waiting for locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Unreachable
from circle_migrate.postgres.server_errors import (
    INSUFFICIENT_PRIVILEGE,
    LOCK_NOT_AVAILABLE,
    server_message,
    sqlstate,
    statement_error,
)

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database

TOTAL_SECONDS = 30.0
_LOCK_SECONDS = 0.5
_GRACE_SECONDS = 2.0
"""Time beyond a query's limit in which the server has to end the query before the connection is closed."""

_NO_LIMITS = {"statement_timeout": 0, "idle_in_transaction_session_timeout": 0}
_TRANSACTION_TIMEOUT_SINCE = 17
_CANCELLED = "57014"
_MISSING = ("42P01", "42703", "3F000")
# Error classes about names, rights and resources. Messages of other classes can quote rows.
_QUOTABLE = ("08", "0A", "25", "3F", "40", "42", "53", "54", "55", "57", "58")

# With row_security on, a policy hides rows silently; with it off, the server refuses the query. Definitions
# are printed in these date styles.
_SETTINGS = {"row_security": "off", "datestyle": "'ISO, YMD'", "intervalstyle": "'postgres'"}


class UnansweredError(Exception):
    """A query without an answer; the message says why, `sqlstate` is the server's, if it has answered."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class TooLongError(UnansweredError):
    """The time was not enough."""


class AbsentError(UnansweredError):
    """The database has no such schema, relation or column."""


def milliseconds(seconds: float) -> int:
    """Return a timeout as PostgreSQL takes it; never 0, which is none."""
    return max(1, round(seconds * 1000))


@asynccontextmanager
async def bounded_read(
    database: Database, seconds: float | None = 5.0, lock_seconds: float = _LOCK_SECONDS
) -> AsyncIterator[asyncpg.Connection]:
    """Open a READ ONLY transaction in which each statement may take `seconds`; None sets no limit.

    Raises `Unreachable`, or its subclass for a privilege, where the server or the connection fails: what
    could not be read must not pass for fine.
    """
    import asyncpg

    try:
        async with database.reading() as connection:
            if seconds is not None:
                settings = _limits(seconds, lock_seconds)
            else:
                settings = {"lock_timeout": milliseconds(lock_seconds), **_NO_LIMITS}
                if connection.get_server_version().major >= _TRANSACTION_TIMEOUT_SINCE:
                    settings["transaction_timeout"] = 0
            await connection.execute(_set_local(settings))
            yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise statement_error(error, database.name, "read the catalogue") or Unreachable(
            f"{database.name}: the catalogue did not answer",
            database=database.name,
            detail=server_message(error),
        ) from error


def _limits(seconds: float, lock_seconds: float) -> dict[str, object]:
    return {
        "statement_timeout": milliseconds(seconds),
        "lock_timeout": milliseconds(min(seconds, lock_seconds)),
        "jit": "off",
    }


def _set_local(settings: Mapping[str, object]) -> str:
    return ";".join(f"SET LOCAL {name} = {value}" for name, value in settings.items())


class LiveQuery:
    """Queries of one connection, each in a transaction of its own, with a time limit each and for all."""

    def __init__(self, connection: asyncpg.Connection, seconds: float, total: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._ends = time.monotonic() + total

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return all rows. Raises `UnansweredError`."""
        seconds = min(self._seconds, self._ends - time.monotonic())
        if seconds <= 0:
            raise TooLongError("not asked: the questions before took all the time there was")
        if self._connection.is_closed():
            raise UnansweredError("not asked: the connection was lost")
        settings = _set_local({**_limits(seconds, _LOCK_SECONDS), **_SETTINGS})
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                await self._connection.execute(f"BEGIN READ ONLY;{settings}")
                try:
                    return list(await self._connection.fetch(query, *arguments))
                finally:
                    await self._connection.execute("ROLLBACK")
        except Exception as error:
            if isinstance(error, TimeoutError):
                self._connection.terminate()
            raise _unanswered(error, seconds) from error


@asynccontextmanager
async def open_live_query(
    database: Database, seconds: float = 5.0, total: float = TOTAL_SECONDS
) -> AsyncIterator[LiveQuery]:
    """Open a connection for queries of `seconds` each and `total` together. Raises what connecting raises."""
    async with database.reading() as connection:
        await connection.execute("COMMIT")  # Every query has its own transaction; the session keeps its SET.
        yield LiveQuery(connection, seconds, total)


def _unanswered(error: Exception, seconds: float) -> UnansweredError:
    state = sqlstate(error) or ""
    if state == _CANCELLED or isinstance(error, TimeoutError):
        return TooLongError(f"no answer within {seconds:.2g} s", state)
    if state in _MISSING:
        return AbsentError(server_message(error), state)
    if state == LOCK_NOT_AVAILABLE:
        return UnansweredError("another session has locked the table", state)
    if state == INSUFFICIENT_PRIVILEGE:
        return UnansweredError(f"the role may not read it: {server_message(error)}", state)
    if state.startswith(_QUOTABLE) or not state:
        return UnansweredError(server_message(error), state)
    return UnansweredError(f"the server could not answer (SQLSTATE {state})", state)
