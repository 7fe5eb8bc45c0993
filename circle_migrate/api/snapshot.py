"""A value that many requests share: at most so old, and read by one refresh at a time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from circle_migrate.core.errors import MigrateError, Unreachable, text_of

T = TypeVar("T")
Read = Callable[[], Coroutine[Any, Any, T]]
LOG = logging.getLogger("circle_migrate.api")


@dataclass(frozen=True, slots=True)
class Taken(Generic[T]):
    """A value or the error of reading it, the time of the reading, and its duration in seconds."""

    value: T | MigrateError
    at: datetime
    seconds: float
    read_at: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since it was read."""
        return time.monotonic() - self.read_at


class Snapshot(Generic[T]):
    """What `read` returns, kept for `max_age` seconds; any thread may ask for it.

    With `in_thread` it is read in a thread with an event loop of its own: settings and revision files take
    the processor, and the loop of the application has other work. An error is a value like any other.
    """

    def __init__(self, read: Read[T], max_age: float, *, in_thread: bool = True) -> None:
        self._read, self.max_age, self._in_thread = read, max_age, in_thread
        self._lock = threading.Lock()
        self._running: Future[Taken[T]] | None = None
        self._latest: Taken[T] | None = None
        self._cancel: Callable[[], object] = bool

    def latest(self) -> Taken[T] | None:
        """Return the value if it is new enough, and start a refresh where it has reached half its age."""
        taken = self._latest
        if taken is None or taken.age > self.max_age / 2:
            self._refresh()
        return taken if taken is not None and taken.age <= self.max_age else None

    async def get(self, patience: float) -> Taken[T] | None:
        """Return the value; wait at most `patience` seconds where it is too old, then return None."""
        taken = self.latest()
        if taken is None:
            with suppress(TimeoutError, CancelledError):
                waiting = asyncio.shield(asyncio.wrap_future(self._refresh()))
                taken = await asyncio.wait_for(waiting, patience)
        return taken

    async def close(self) -> None:
        """Cancel a refresh and wait for its end: it may have a temporary server to stop."""
        running = self._running
        self._cancel()
        if running is not None:
            with suppress(BaseException):
                await asyncio.wrap_future(running)

    def _refresh(self) -> Future[Taken[T]]:
        with self._lock:
            if self._running is None or self._running.done():
                if self._in_thread:
                    self._running = Future()
                    threading.Thread(target=self._work, args=(self._running,), name="circle-migrate").start()
                else:
                    loop = asyncio.get_running_loop()
                    self._running = asyncio.run_coroutine_threadsafe(self._take(), loop)
            return self._running

    def _work(self, future: Future[Taken[T]]) -> None:
        try:
            with asyncio.Runner() as runner:
                # Errors of tasks that a reading has given up, as of a connection.
                runner.get_loop().set_exception_handler(lambda *_: None)
                future.set_result(runner.run(self._take()))
        except BaseException:  # noqa: BLE001 - cancelled by `close`
            future.cancel()  # an exception that nobody waits for any more would be in the log

    async def _take(self) -> Taken[T]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if self._in_thread and task is not None:
            self._cancel = lambda: None if loop.is_closed() else loop.call_soon_threadsafe(task.cancel)
        at, started = datetime.now(UTC), time.monotonic()
        value: T | MigrateError
        try:
            value = await self._read()
        except TimeoutError:
            value = Unreachable("no answer in time")
        except MigrateError as error:
            value = error
        except Exception as error:
            LOG.exception("unexpected error; this is a bug in circle-migrate")
            value = MigrateError("unexpected error; this is a bug in circle-migrate", detail=text_of(error))
        self._latest = taken = Taken(value, at, time.monotonic() - started)
        return taken
