"""The end of a step, on which the server works while the Python code of the next step runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from circle_migrate.migrate.alembic_adapter.context import Transcript
    from circle_migrate.migrate.alembic_adapter.runner import Runner


class PendingEnd:
    """The end of the last step of a run, if the server has not answered yet.

    Revisions send nothing meanwhile: `pending` is `before_sending` of the adapters. Its error is that of its
    own step, and replaces what the next step was about to send.
    """

    def __init__(self) -> None:
        self._end: Coroutine[Any, Any, None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._runner: Runner | None = None
        self._transcript: Transcript | None = None

    def take(self, end: Coroutine[Any, Any, None], runner: Runner) -> None:
        """Keep the end of the runner's step, for `send`."""
        self._end, self._runner, self._transcript = end, runner, runner.transcript

    async def send(self) -> bool:
        """Begin to await the end that was taken; return whether one was."""
        end, self._end = self._end, None
        if end is None:
            return False
        self._task = asyncio.create_task(end)
        await asyncio.sleep(0)  # sends it
        return True

    def pending(self) -> Coroutine[Any, Any, None] | None:
        """Return what `settle` would await, None if nothing is pending."""
        return None if self._task is None else self.settle()

    async def settle(self) -> None:
        """Await the end. Raises its error, again each time, as the next step may catch it."""
        if self._task is not None:
            with self._own_transcript():
                await self._task
            self._task = None

    def raise_error(self) -> None:
        """Raise the error of the end, if it has failed."""
        if self._task is not None and self._task.done():
            with self._own_transcript():
                self._task.result()

    @contextmanager
    def _own_transcript(self) -> Iterator[None]:
        """Let messages tell what the failed step has sent, not the next one."""
        try:
            yield
        except BaseException:
            if self._runner is not None:
                self._runner.transcript = self._transcript
            raise

    async def stop(self, *, cancel: bool) -> None:
        """Await the end without its error, or cancel it, before a rollback."""
        task, self._task = self._task, None
        if task is not None:
            if cancel:
                task.cancel()
            with suppress(Exception):
                await asyncio.gather(task, return_exceptions=True)
