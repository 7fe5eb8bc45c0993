"""The one place where a command runs, prints and ends: signals, errors, output, exit status."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import typer

from circle_migrate.core.errors import ExitCode, Interrupted, MigrateError
from circle_migrate.core.redaction import redact
from circle_migrate.core.result import Result

if TYPE_CHECKING:
    from circle_migrate.cli.context import CommandContext
    from circle_migrate.cli.progress import Progress

_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANGUP,
}


_BUSY = 1.0
"""Seconds after which a signal interrupts a step that is busy in Python instead of waiting for the server."""


class _Signals:
    """Turns the first signal into a cancellation of the running task, the second into an end at once."""

    def __init__(self, progress: Progress) -> None:
        self.status: ExitCode | None = None
        self._progress = progress
        self._heard = False

    @contextmanager
    def caught(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Catch signals for the task while the block runs; only the main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGALRM)}
        for number in _SIGNALS:
            signal.signal(number, lambda received, _frame: self._received(received, loop, task))
        signal.signal(signal.SIGALRM, self._interrupt)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _received(self, number: int, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        status = _SIGNALS[signal.Signals(number)]
        if self.status is not None:
            self._progress.stop()
            sys.stderr.write("\nstopped at once; the server rolls back what was not committed\n")
            sys.stderr.flush()
            os._exit(status)
        self.status = status
        signal.setitimer(signal.ITIMER_REAL, _BUSY)
        loop.call_soon_threadsafe(self._cancel, task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if not self._heard:
            self._heard = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            task.cancel()

    def _interrupt(self, _number: int, _frame: object) -> None:
        """The loop has not come to `_cancel`: a revision's own Python code keeps it busy."""
        self._heard = True
        raise KeyboardInterrupt


def run_command(call: CommandContext, action: Callable[[], Result | Coroutine[Any, Any, Result]]) -> None:
    """Run a command's action, print its result or its error, and end with the exit status of either."""
    from circle_migrate.cli import write as output

    signals = _Signals(call.progress)
    try:
        answer = action()
        result = answer if isinstance(answer, Result) else _run(answer, signals, call.progress)
        output.success(result, call.format)
    except typer.Exit:
        raise
    except BaseException as error:  # noqa: BLE001 - this is the boundary
        named = _named(error, signals)
        if call.debug:
            sys.stderr.write(_without_rows(redact("".join(traceback.format_exception(error)))))
        output.failure(named, call.command, call.format)
        raise typer.Exit(int(named.status)) from None
    raise typer.Exit(int(result.exit_code))


def _run(coroutine: Coroutine[Any, Any, Result], signals: _Signals, progress: Progress) -> Result:
    async def main() -> Result:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        with signals.caught(task):
            try:
                return await coroutine
            finally:
                # While signals are still caught: none may leave the terminal without its cursor.
                progress.stop()

    with asyncio.Runner() as runner:
        return runner.run(main())


def _without_rows(text: str) -> str:
    """A traceback without the server's DETAIL lines: they can quote rows."""
    return re.sub(r"(?m)^(\s*)DETAIL:.*$", r"\1DETAIL: hidden, as it can quote rows", text)


def _named(error: BaseException, signals: _Signals) -> MigrateError:
    """The error as one that has a code, a message and an exit status."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        error = Interrupted("interrupted", state="nothing was changed")
    if isinstance(error, Interrupted):
        error.status = signals.status or ExitCode.INTERRUPTED
    if isinstance(error, MigrateError):
        return error
    return MigrateError(
        "unexpected error; this is a bug in circle-migrate",
        detail=f"{type(error).__name__}: {error}",
        hint="run the command again with --debug and report what it prints",
    )
