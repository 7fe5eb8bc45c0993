"""Events of a run as progress on stderr: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from circle_migrate.cli.progress_lines import Lines
    from circle_migrate.cli.progress_live import Live
    from circle_migrate.core.events import Event


class Progress:
    """The receiver of a run's events; it creates its view with the first event, to import rich only then.

    Call `stop` before anything else is written to the terminal. It may be called more than once; nothing
    but warnings is shown after it.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._silent = quiet
        self._view: Lines | Live | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        if self._silent:
            return
        if self._view is None:
            self._view = _view(cast("TextIO", SafeStream(sys.stderr)))
        self._view.show(event)

    def say(self, text: str) -> None:
        """Show a line of progress."""
        if not self._silent:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Show a line also with --quiet."""
        if self._view is not None:
            self._view.say(text)
        else:
            from circle_migrate.cli.write import write_stderr

            write_stderr(text)

    def stop(self) -> None:
        """End the view."""
        self._silent = True
        view, self._view = self._view, None
        if view is not None:
            view.stop()


def _view(stream: TextIO) -> Lines | Live:
    from circle_migrate.cli.console import console

    screen = console(stream)
    # FORCE_COLOR asks for colours in a pipe, not for a moving cursor.
    if stream.isatty() and screen.is_interactive:
        from circle_migrate.cli.progress_live import Live

        return Live(screen)
    from circle_migrate.cli.progress_lines import Lines

    return Lines(screen)


class SafeStream:
    """A stream whose reader may close it: the output ends, and the migration goes on.

    Rich would end the process and redirect stdout to the null device.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text if there is a reader."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream if there is a reader."""
        self._try(self._stream.flush)

    def _try(self, function: Any, *arguments: str) -> None:
        try:
            function(*arguments)
        except BlockingIOError:
            pass  # a reader that is too slow misses a line
        except OSError:
            from circle_migrate.cli.write import discard

            discard(self._stream)
