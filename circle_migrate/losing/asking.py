"""Questions about rows to a live database: read only, and for a short time, each alone and all together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from circle_migrate.faults import INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE, server_words, sqlstate
from circle_migrate.live_facts.looking import limits

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.database import Database

SECONDS = 5.0
TOTAL_SECONDS = 30.0
_GRACE_SECONDS = 2.0

_CANCELLED = "57014"
_MISSING = ("42P01", "42703", "3F000")
# Classes of errors about names, rights and resources; those about data may quote data.
_SPEAKABLE = ("08", "25", "40", "42", "53", "54", "55", "57", "58")


class UnansweredError(Exception):
    """A question without an answer; the message says why, for people."""


class TooLongError(UnansweredError):
    """There was not enough time for it."""


class AbsentError(UnansweredError):
    """What it asks about is not in the live database."""


class Asking:
    """A connection to a live database, and the time that is left for questions."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._ends = time.monotonic() + TOTAL_SECONDS

    async def of(self, relation: str, what: str, condition: str = "") -> asyncpg.Record:
        """Aggregates over the rows of a relation that meet a condition. Raises `UnansweredError`."""
        where = f" WHERE {condition}" if condition else ""
        return await self.row(f"SELECT {what} FROM {relation}{where}")  # noqa: S608 - names as SQL

    async def row(self, query: str, *arguments: object) -> asyncpg.Record:
        """The one row of a query, in a transaction of its own. Raises `UnansweredError`."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TooLongError("not asked: the questions before took all the time there was")
        if self._connection.is_closed():
            raise UnansweredError("not asked: the connection was lost")
        seconds = min(SECONDS, left)
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                # With row_security a policy would hide rows silently; without, the server refuses to.
                await self._connection.execute(
                    f"BEGIN READ ONLY;{limits(seconds)};SET LOCAL row_security = off"
                )
                try:
                    return await self._connection.fetchrow(query, *arguments)
                finally:
                    await self._connection.execute("ROLLBACK")
        except Exception as error:
            if isinstance(error, TimeoutError):
                self._connection.terminate()
            raise _unanswered(error, seconds) from error


@asynccontextmanager
async def asking(database: Database) -> AsyncIterator[Asking]:
    """Ask a live database. Raises what connecting raises."""
    async with database.reading() as connection:
        await connection.execute("ROLLBACK")  # every question has a transaction of its own
        yield Asking(connection)


def _unanswered(error: Exception, seconds: float) -> UnansweredError:
    state = sqlstate(error) or ""
    if state == _CANCELLED or isinstance(error, TimeoutError):
        return TooLongError(f"no answer within {seconds:g} s")
    if state in _MISSING:
        return AbsentError(server_words(error))
    if state == LOCK_NOT_AVAILABLE:
        return UnansweredError("another session has locked the table")
    if state == INSUFFICIENT_PRIVILEGE:
        return UnansweredError(f"the role may not read it: {server_words(error)}")
    if state.startswith(_SPEAKABLE) or not state:
        return UnansweredError(server_words(error))
    return UnansweredError(f"the server could not answer (SQLSTATE {state})")
