"""Connections that look at a live database without being in anybody's way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from circle_migrate.errors import CircleError, Unreachable
from circle_migrate.faults import server_words, statement_fault

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.database import Database

_SECONDS = 5.0
_LOCK_SECONDS = 0.5


def limits(seconds: float) -> str:
    """SQL that bounds every further statement of a transaction, in seconds, and its wait for a lock."""
    return (
        f"SET LOCAL statement_timeout = {milliseconds(seconds)};"
        f"SET LOCAL lock_timeout = {milliseconds(min(seconds, _LOCK_SECONDS))};"
        "SET LOCAL jit = off"
    )


def milliseconds(seconds: float) -> int:
    """As PostgreSQL counts timeouts, never 0, which would be none."""
    return max(1, round(seconds * 1000))


@asynccontextmanager
async def looking(database: Database, seconds: float = _SECONDS) -> AsyncIterator[asyncpg.Connection]:
    """A READ ONLY transaction whose statements end after some seconds.

    Raises `Unreachable` where the server could not answer, or its subclass for a privilege: nothing may be
    taken for fine because it was not seen.
    """
    try:
        async with database.reading() as connection:
            await connection.execute(limits(seconds))
            yield connection
    except CircleError:
        raise
    except Exception as error:
        raise statement_fault(error, database.name, "read the catalogue") or Unreachable(
            f"{database.name}: the catalogue did not answer",
            database=database.name,
            detail=server_words(error),
        ) from error
