"""The standard streams of a command: stdout is kept for its result, and a closed reader is no error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO, cast

from circle_migrate.cli.write import discard
from circle_migrate.core.redaction import redact


@contextmanager
def stdout_for_result() -> Iterator[None]:
    """Send to stderr what anything else writes to stdout: revisions, models, loggers, child processes."""
    sys.stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(cast("TextIO", SafeStream(sys.stderr))):
            yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os.dup2(original, 1)
        os.close(original)


def end_stdout() -> None:
    """Send to stderr what is written while the process ends, as by functions that a revision registered."""
    original = sys.__stdout__
    if original is not None and original is sys.stdout:
        with suppress(OSError):
            original.flush()
            os.dup2(2, 1)


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
