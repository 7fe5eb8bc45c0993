"""Queries of live databases in READ ONLY transactions, with limits on run time and lock waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from circle_migrate.postgres import server_errors
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.search_path import CONFIGURED_LOCALLY

TOTAL_SECONDS = 30.0
_LOCK_SECONDS = 0.5
_GRACE_SECONDS = 2.0
"""Seconds after a query's time limit until the connection is closed."""

NO_TIMEOUTS = """
SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN (
    'statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')
"""
"""Sets all timeouts that the server has, except that of locks, to none for the session."""

_MISSING = ("42P01", "42703", "3F000")
# SQLSTATE classes of names, privileges and resources. Messages of other classes can quote rows.
_SAFE_TO_QUOTE = ("08", "0A", "25", "3F", "40", "42", "53", "54", "55", "57", "58")

# With row_security on, policies hide rows silently; with it off, the server refuses the query.
_SETTINGS = {"row_security": "off", "datestyle": "'ISO, YMD'", "intervalstyle": "'postgres'"}


class QueryError(Exception):
    """A query failed; the message gives the reason, `sqlstate` is empty if the server did not answer."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class QueryTimeoutError(QueryError):
    """A query exceeded its time limit."""


class MissingObjectError(QueryError):
    """A schema, relation or column does not exist."""


def milliseconds(seconds: float) -> int:
    """Return a timeout in milliseconds for PostgreSQL, at least 1, because 0 means no timeout."""
    return max(1, round(seconds * 1000))


@asynccontextmanager
async def bounded_read(
    database: Database, seconds: float | None = 5.0, lock_seconds: float = _LOCK_SECONDS
) -> AsyncIterator[asyncpg.Connection]:
    """Open a READ ONLY transaction in which each statement may take `seconds`; None sets no limit."""
    try:
        async with database.reading() as connection:
            if seconds is None:
                lock_timeout = milliseconds(lock_seconds)
                await connection.execute(f"{NO_TIMEOUTS}; SET LOCAL lock_timeout = {lock_timeout}")
            else:
                await connection.execute(_set_local(_limits(seconds, lock_seconds)))
            yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise server_errors.named_error(error, database.name, "read the catalog") from error


def _limits(seconds: float, lock_seconds: float) -> dict[str, object]:
    return {
        "statement_timeout": milliseconds(seconds),
        "lock_timeout": milliseconds(min(seconds, lock_seconds)),
        "jit": "off",
    }


def _set_local(settings: Mapping[str, object]) -> str:
    return ";".join(f"SET LOCAL {name} = {value}" for name, value in settings.items())


class LiveQuery:
    """Queries of one `connection`, each in its own transaction, with time limits per query and in total."""

    def __init__(self, connection: asyncpg.Connection, seconds: float, total: float) -> None:
        self.connection = connection
        self._seconds = seconds
        self._deadline = time.monotonic() + total

    async def rows(
        self, query: str, *arguments: object, configured_path: bool = False
    ) -> list[asyncpg.Record]:
        """Return all rows, of a query that may depend on the `configured_path`. Raises `QueryError`."""
        seconds = min(self._seconds, self._deadline - time.monotonic())
        if seconds <= 0:
            raise QueryTimeoutError("not queried: earlier queries took all of the time")
        if self.connection.is_closed():
            raise QueryError("not queried: the connection was lost")
        settings = _set_local({**_limits(seconds, _LOCK_SECONDS), **_SETTINGS})
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                await self.connection.execute(f"BEGIN READ ONLY;{settings}")
                try:
                    if configured_path:
                        await self.connection.execute(CONFIGURED_LOCALLY)
                    return list(await self.connection.fetch(query, *arguments))
                finally:
                    await self.connection.execute("ROLLBACK")
        except Exception as error:
            if isinstance(error, TimeoutError):
                self.connection.terminate()
            raise _query_error(error, seconds) from error


@asynccontextmanager
async def open_live_query(
    database: Database, seconds: float = 5.0, total: float = TOTAL_SECONDS
) -> AsyncIterator[LiveQuery]:
    """Open a connection for queries of `seconds` each, `total` together. Raises the errors of connecting."""
    async with database.reading() as connection:
        await connection.execute("COMMIT")  # each query has its own transaction; SET is kept
        yield LiveQuery(connection, seconds, total)


def _query_error(error: Exception, seconds: float) -> QueryError:
    state, message = server_errors.sqlstate(error) or "", server_errors.server_message(error)
    if state == server_errors.QUERY_CANCELED or isinstance(error, TimeoutError):
        return QueryTimeoutError(f"no answer within {seconds:.2g} s", state)
    if state in _MISSING:
        return MissingObjectError(message, state)
    if state == server_errors.LOCK_NOT_AVAILABLE:
        message = "another session has locked the table"
    elif state == server_errors.INSUFFICIENT_PRIVILEGE:
        message = f"the role lacks the privilege to read it: {message}"
    elif not state.startswith(_SAFE_TO_QUOTE) and state:
        message = f"the query failed (SQLSTATE {state})"
    return QueryError(message, state)
