"""Run a command, write its result or its error, and end with its exit status; signals are handled here."""

import asyncio
import logging
import os
import re
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, cast

import typer

from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.progress import Progress
from circle_migrate.cli.streams import stdout_for_result
from circle_migrate.cli.write import failure, report_lost_output, success, write_stderr
from circle_migrate.core.errors import ExitCode, Interrupted, MigrateError, UsageError, text_of
from circle_migrate.core.redaction import redact_statement, redact_traceback
from circle_migrate.core.result import Result
from circle_migrate.core.shield import signal_delivered

_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANGUP,
}
_MAX_BUSY_SECONDS = 1.0
"""Seconds after which a signal interrupts Python code that does not return to the event loop."""


class _Signals:
    """Signal handlers: the first signal cancels the running task, the second ends the process."""

    def __init__(self, progress: Progress) -> None:
        self.status: ExitCode | None = None
        self._progress = progress

    @contextmanager
    def cancel_on_signal(self, task: asyncio.Task[Any]) -> Iterator[None]:
        """Handle signals while the block runs; outside of the main thread there are none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handlers = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGALRM)}
        for number in _SIGNALS:
            signal.signal(number, lambda received, _frame: self._receive(received, loop, task))
        signal.signal(signal.SIGALRM, self._interrupt)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal_delivered.clear()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _receive(self, number: int, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        status = _SIGNALS[signal.Signals(number)]
        if self.status is not None:
            self._progress.stop()
            write_stderr("", "stopped at once; the server rolls back what was not committed")
            os._exit(status)
        self.status = status
        signal.setitimer(signal.ITIMER_REAL, _MAX_BUSY_SECONDS)
        loop.call_soon_threadsafe(self._cancel, task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if not signal_delivered.is_set():
            signal_delivered.set()
            signal.setitimer(signal.ITIMER_REAL, 0)
            task.cancel()

    def _interrupt(self, _number: int, _frame: object) -> None:
        """Raise KeyboardInterrupt in Python code, for example of a revision, that keeps the loop busy."""
        signal_delivered.set()
        raise KeyboardInterrupt


@contextmanager
def _logs(progress: Progress, *, verbose: bool) -> Iterator[None]:
    """Show our warnings; with `verbose` also notices of the servers, Alembic's log and its statements."""

    shown: set[str] = set()

    def show(record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and not record.name.startswith("alembic"):
            if record.getMessage() not in shown:
                progress.warn(f"warning: {record.getMessage()}")
            shown.add(record.getMessage())
        elif not record.getMessage().startswith("["):  # what SQLAlchemy says about a statement's parameters
            progress.say(redact_statement(record.getMessage().strip()))

    handler, ours = logging.Handler(), logging.getLogger("circle_migrate")
    handler.emit = show  # type: ignore[method-assign]
    ours.propagate = False
    names = ("alembic", "sqlalchemy.engine") if verbose else ()
    loggers = [ours, *map(logging.getLogger, names)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def _without_library_warnings() -> Iterator[None]:
    """Hide warnings and errors that SQLAlchemy, Alembic and psycopg show: those of a run are our own."""
    for name in ("sqlalchemy", "psycopg"):
        logging.getLogger(name).addHandler(logging.NullHandler())

    def show_others(message: Any, category: Any, filename: str, *args: Any, **kwargs: Any) -> None:
        if not category.__module__.startswith("sqlalchemy") and "/alembic/" not in filename:
            show(message, category, filename, *args, **kwargs)

    with warnings.catch_warnings():
        show, warnings.showwarning = warnings.showwarning, show_others
        yield


def run_command(
    context: CommandContext,
    action: Callable[[], Result | Coroutine[Any, Any, Result]],
    *,
    has_result: bool = True,
) -> None:
    """Run the action, write its result or error, raise `typer.Exit`; without a result it writes itself."""
    signals = _Signals(context.progress)
    try:
        with (
            _logs(context.progress, verbose=context.verbose),
            nullcontext() if context.debug else _without_library_warnings(),
            stdout_for_result() if has_result else nullcontext(),
        ):
            context.reports.check()
            context.events.open()
            result = action()
            if not isinstance(result, Result):
                result = _run(result, signals, context)
        context.events.end(result.exit_code)
        lost = context.events.error and f"the events cannot be written: {context.events.error.strerror}"
        try:
            context.reports.write(result)
        except UsageError as problem:
            lost = f"{problem.message}: {problem.detail}"
        success(result, context.format)
        if lost:
            report_lost_output(result, lost)
    except typer.Exit:
        raise
    except BaseException as exception:
        if context.command == "help" and isinstance(exception, OSError):
            raise  # of stdout, as of --help
        error = _migrate_error(exception, signals)
        if context.debug:
            lines = redact_traceback("".join(traceback.format_exception(exception)).rstrip("\n"))
            # The server's DETAIL lines can quote rows, and what psycopg adds quotes statements.
            hidden = r"(?m)^([\s|]*(?:DETAIL|CONTEXT|QUERY|LINE \d+):).*$"
            write_stderr(re.sub(hidden, r"\1 hidden, as it can quote rows", lines))
        context.events.end(error.status)
        with suppress(UsageError):  # of files that cannot be written
            context.reports.write_failure(context.command, error)
        failure(error, context.command, context.format)
        raise typer.Exit(int(error.status)) from None
    raise typer.Exit(int(result.exit_code))


def _run(coroutine: Coroutine[Any, Any, Result], signals: _Signals, context: CommandContext) -> Result:
    async def main() -> Result:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        if not context.debug:  # errors of tasks that the command has given up, as of a connection
            asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        with signals.cancel_on_signal(task):
            try:
                return await coroutine
            finally:
                # Before the handlers are removed: no signal may leave the terminal without its cursor.
                context.progress.stop()

    with asyncio.Runner() as runner:
        return runner.run(main())


def _migrate_error(exception: BaseException, signals: _Signals) -> MigrateError:
    """Return the exception as an error with code, message and exit status."""
    if isinstance(exception, asyncio.CancelledError | KeyboardInterrupt):
        exception = Interrupted("interrupted", state="nothing was changed")
    if isinstance(exception, Interrupted):
        exception.status = signals.status or ExitCode.INTERRUPTED
    if isinstance(exception, MigrateError):
        return exception
    return MigrateError(
        "unexpected error; this is a bug in circle-migrate",
        detail=f"{type(exception).__name__}: {text_of(exception)}",
        hint="run the command again with --debug and report the output",
    )
