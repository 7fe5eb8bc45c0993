"""Read two columns of keys in ascending order, merge them, and find the keys that only one of them has."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import asyncpg

from circle_migrate.config.relation import Side
from circle_migrate.core.errors import LockNotObtained, MigrateError, Unreachable
from circle_migrate.postgres import server_errors
from circle_migrate.postgres.key_column import KeyEncoding

K = TypeVar("K", int, bytes)

_BATCH = 1 << 17
"""Bytes of a batch, about ten thousand keys."""

_PREFETCH = 2
"""Batches that each side reads ahead."""


class Stream:
    """The keys of a column, read ahead by COPY, which takes half the time of a cursor."""

    def __init__(self, connection: asyncpg.Connection, encoding: KeyEncoding) -> None:
        self._connection = connection
        self._encoding = encoding
        self._parts: list[bytes] = []
        self._size = 0
        self._ready: asyncio.Queue[list[bytes] | Exception | None] = asyncio.Queue(_PREFETCH)

    async def batch(self) -> list[Any] | None:
        """Return the next keys, None after the last. Raises the error of reading as a `MigrateError`."""
        lines = await self._ready.get()
        if isinstance(lines, Exception):
            raise reading_error(lines, self._encoding.located.column.database) from lines
        return None if lines is None else self._encoding.parse_keys(lines)

    async def copy(self) -> None:
        """Read all keys; wait while the queue is full."""
        try:
            await self._connection.copy_from_query(self._encoding.query, output=self._receive)
            await self._enqueue()
        except Exception as error:  # noqa: BLE001 - batch() raises it
            await self._ready.put(error)
        else:
            await self._ready.put(None)

    async def _receive(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            await self._enqueue()

    async def _enqueue(self) -> None:
        text = b"".join(self._parts)
        end = text.rfind(b"\n") + 1
        self._parts, self._size = [text[end:]], len(text) - end
        if end:
            await self._ready.put(text[:end].splitlines())


@asynccontextmanager
async def streaming(connection: asyncpg.Connection, encoding: KeyEncoding) -> AsyncIterator[Stream]:
    """Read the keys of a column while the block runs."""
    stream = Stream(connection, encoding)
    reading = asyncio.create_task(stream.copy())
    try:
        yield stream
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def reading_error(error: Exception, database: str) -> MigrateError:
    """Return the `MigrateError` for keys that could not be read."""
    if isinstance(error, MigrateError):
        return error
    detail = server_errors.server_message(error)
    if server_errors.sqlstate(error) == server_errors.LOCK_NOT_AVAILABLE:
        return LockNotObtained(
            f"{database}: another session holds a lock on the table",
            database=database,
            detail=detail,
            hint="run the command again when the session is done; it may be a migration",
        )
    return server_errors.statement_error(error, database, "read the keys") or Unreachable(
        f"{database}: not all keys could be read", database=database, detail=detail
    )


@dataclass(slots=True)
class StreamSide(Generic[K]):
    """One side of a merge: the number of rows read, and the keys that the other side lacks.

    `unmatched` is the number of these keys, without duplicates; `first` are the lowest of them. `last` is the
    highest key that was read.
    """

    rows: int = 0
    unmatched: int = 0
    first: list[K] = field(default_factory=list)
    waiting: list[K] = field(default_factory=list)
    last: K | None = None
    ended: bool = False

    def cut(self, bound: K | None) -> list[K]:
        """Remove and return the waiting keys up to the bound, or all without one."""
        end = len(self.waiting) if bound is None else bisect_right(self.waiting, bound)
        keys, self.waiting = self.waiting[:end], self.waiting[end:]
        return keys


class SortedMerge(Generic[K]):
    """A merge of two ascending streams of keys, given in batches; keys may occur more than once.

    Read a batch of the side `next_side` and `add` it, or `end` the side, until `next_side` is None. Memory
    holds one batch of each side: keys are compared up to the lower of the batches' last keys. `max_first`
    limits the keys in `StreamSide.first`.
    """

    def __init__(self, max_first: int) -> None:
        self.sides: dict[Side, StreamSide[K]] = {side: StreamSide() for side in Side}
        self._max_first = max_first
        self._bound: K | None = None

    @property
    def next_side(self) -> Side | None:
        """The side of which the next batch is needed; None if both have ended."""
        empty = (side for side, stream in self.sides.items() if not (stream.ended or stream.waiting))
        return next(empty, None)

    def add(self, side: Side, keys: list[K]) -> None:
        """Add the next keys of a side. Raises `ValueError` if they do not ascend."""
        stream = self.sides[side]
        if not keys:
            return
        if keys != sorted(keys) or (stream.last is not None and keys[0] < stream.last):
            raise ValueError(f"the keys of the {side.value} side do not ascend")
        stream.rows += len(keys)
        stream.last = keys[-1]
        stream.waiting += keys if self._bound is None else keys[bisect_right(keys, self._bound) :]
        self._compare()

    def end(self, side: Side) -> None:
        """Declare that a side has no more keys."""
        self.sides[side].ended = True
        self._compare()

    def _compare(self) -> None:
        if self.next_side is not None:
            return
        streams = self.sides.values()
        bound = min((stream.waiting[-1] for stream in streams if not stream.ended), default=None)
        left, right = (stream.cut(bound) for stream in streams)
        if bound is not None:
            self._bound = bound
        if left != right:
            self._count_unmatched(Side.LEFT, set(left) - set(right))
            self._count_unmatched(Side.RIGHT, set(right) - set(left))

    def _count_unmatched(self, side: Side, keys: set[K]) -> None:
        stream = self.sides[side]
        stream.unmatched += len(keys)
        if keys and len(stream.first) < self._max_first:
            stream.first += sorted(keys)[: self._max_first - len(stream.first)]
