"""The one place where a command runs, prints and ends: signals, errors, output, exit status."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import typer

from circle_migrate.core.result import Result
from circle_migrate.errors import CircleError, ExitCode, Interrupted
from circle_migrate.redaction import redact

if TYPE_CHECKING:
    from circle_migrate.cli.call import Call

_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANGUP,
}


class _Signals:
    """Turns the first signal into a cancellation of the running task, the second into an end at once."""

    def __init__(self) -> None:
        self.status: ExitCode | None = None

    def catch(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._received, number, task)

    def _received(self, number: signal.Signals, task: asyncio.Task[Any]) -> None:
        if self.status is not None:
            sys.stderr.write("\nstopped at once; the server rolls back what was not committed\n")
            sys.stderr.flush()
            os._exit(_SIGNALS[number])
        self.status = _SIGNALS[number]
        task.cancel()


def finish(call: Call, action: Callable[[], Result | Coroutine[Any, Any, Result]]) -> None:
    """Run a command's action, print its result or its error, and end with the exit status of either."""
    from circle_migrate.cli import output

    signals = _Signals()
    try:
        answer = action()
        result = answer if isinstance(answer, Result) else _run(answer, signals)
        output.success(result, call.format)
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:  # noqa: BLE001 - this is the boundary
        named = _named(error, signals)
        if call.debug:
            sys.stderr.write(redact("".join(traceback.format_exception(error))))
        output.failure(named, call.command, call.format)
        raise typer.Exit(int(named.status)) from None
    raise typer.Exit(int(result.exit_code))


def _run(coroutine: Coroutine[Any, Any, Result], signals: _Signals) -> Result:
    async def main() -> Result:
        task = asyncio.current_task()
        if task is not None:
            signals.catch(task)
        return await coroutine

    with asyncio.Runner() as runner:
        return runner.run(main())


def _named(error: BaseException, signals: _Signals) -> CircleError:
    """The error as one that has a code, a message and an exit status."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        error = Interrupted("interrupted", state="nothing was changed")
    if isinstance(error, Interrupted):
        error.status = signals.status or ExitCode.INTERRUPTED
    if isinstance(error, CircleError):
        return error
    return CircleError(
        "an error nobody foresaw; this is a bug",
        detail=f"{type(error).__name__}: {error}",
        hint="run the command again with --debug and report what it prints",
    )
