"""The standard streams of a command: stdout is kept for its result, and a closed reader is no error."""

import atexit
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO, cast

from circle_migrate.cli.write import discard
from circle_migrate.core.redaction import redact


@contextmanager
def stdout_for_result() -> Iterator[None]:
    """Send to stderr what anything else writes to stdout: revisions, models, loggers, child processes."""
    sys.stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(safe_stderr()):
            yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(original, 1)
        os.close(original)


def safe_stderr() -> TextIO:
    """Return stderr, to which secrets are not written."""
    return cast("TextIO", SafeStream(sys.stderr))


def end_stdout() -> None:
    """Send to stderr what is written while the process ends, as by functions that a revision registered."""
    original = sys.__stdout__
    if original is not None and original is sys.stdout:
        with suppress(OSError):
            original.flush()
            os.dup2(2, 1)


def end_process(status: str | int | None) -> NoReturn:
    """End the process as `sys.exit` does, without deleting all objects, which takes a fortieth of `status`.

    Functions of `atexit` run, and a thread or a profiler that is at work is waited for.
    """
    if not isinstance(status, int) or threading.active_count() > 1 or _is_observed():
        sys.exit(status)
    atexit._run_exitfuncs()  # there is no public function for it
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)
    os._exit(status)


def _is_observed() -> bool:
    """Return whether a debugger, a profiler or a coverage tool is at work; they report at the end."""
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    tools = monitoring and any(map(monitoring.get_tool, range(6)))
    return bool(tools or sys.gettrace() or sys.getprofile())


class SafeStream:
    """A stream whose reader may close it; rich would then end the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def detach(self) -> "SafeStream":
        """Return the stream of bytes."""
        return SafeStream(cast("Any", self._stream.buffer))

    buffer = property(detach)

    def close(self) -> None:
        """Leave it open, as others use it too; a wrapper of `buffer` closes that when it is deleted."""

    def write(self, text: str | bytes) -> int:
        """Write the text without secrets if there is a reader."""
        if isinstance(text, str):
            self._try(self._stream.write, redact(text))
        else:
            readable = bytes(text).decode(errors="surrogateescape")
            self._try(self._stream.write, redact(readable).encode(errors="surrogateescape"))
        return len(text)

    def flush(self) -> None:
        """Flush the stream if there is a reader."""
        self._try(self._stream.flush)

    def _try(self, function: Any, *arguments: object) -> None:
        try:
            function(*arguments)
        except BlockingIOError:
            pass  # a reader that is too slow misses a line
        except (OSError, ValueError):  # ValueError after a close
            discard(self._stream)
