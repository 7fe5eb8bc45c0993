"""The keys of a column as a stream: in order, in batches, no further ahead than memory should hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import LockNotObtained, MigrateError, Unreachable
from circle_migrate.postgres.key_column import KeyEncoding
from circle_migrate.postgres.server_errors import (
    LOCK_NOT_AVAILABLE,
    server_message,
    sqlstate,
    statement_error,
)

if TYPE_CHECKING:
    import asyncpg

_BATCH = 1 << 17
"""Bytes of a batch: some ten thousand keys."""

_AHEAD = 2
"""Batches that are read ahead of what is compared, on each side."""


class Stream:
    """The keys of a column, read ahead by COPY, which takes half the time of a cursor."""

    def __init__(self, connection: asyncpg.Connection, form: KeyEncoding) -> None:
        self._connection = connection
        self._form = form
        self._parts: list[bytes] = []
        self._size = 0
        self._ready: asyncio.Queue[list[bytes] | Exception | None] = asyncio.Queue(_AHEAD)

    async def batch(self) -> list[Any] | None:
        """The next keys; None after the last ones. Raises what prevented reading, as a named error."""
        lines = await self._ready.get()
        if isinstance(lines, Exception):
            raise reading_fault(lines, self._form.located.column.database) from lines
        return None if lines is None else self._form.parsed(lines)

    async def copy(self) -> None:
        """Read until the end, waiting where there is no room."""
        try:
            await self._connection.copy_from_query(self._form.query, output=self._receive)
            await self._hand_over()
        except Exception as error:  # noqa: BLE001 - raised where the keys are asked for
            await self._ready.put(error)
        else:
            await self._ready.put(None)

    async def _receive(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            await self._hand_over()

    async def _hand_over(self) -> None:
        text = b"".join(self._parts)
        whole = text.rfind(b"\n") + 1
        self._parts, self._size = [text[whole:]], len(text) - whole
        if whole:
            await self._ready.put(text[:whole].splitlines())


@asynccontextmanager
async def streaming(connection: asyncpg.Connection, form: KeyEncoding) -> AsyncIterator[Stream]:
    """A stream that is read while the block runs."""
    stream = Stream(connection, form)
    reading = asyncio.create_task(stream.copy())
    try:
        yield stream
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def reading_fault(error: Exception, database: str) -> MigrateError:
    """The named error for keys that could not be read."""
    if isinstance(error, MigrateError):
        return error
    words = server_message(error)
    if sqlstate(error) == LOCK_NOT_AVAILABLE:
        return LockNotObtained(
            f"{database}: somebody holds a lock on the table",
            database=database,
            detail=words,
            hint="a migration seems to be running: try again after it",
        )
    return statement_error(error, database, "read the keys") or Unreachable(
        f"{database}: the keys could not be read to the end", database=database, detail=words
    )
