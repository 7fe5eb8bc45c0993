"""A run's events as progress on stderr: a live view on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.events import Event


class View(Protocol):
    """One way of showing events."""

    def show(self, event: Event) -> None:
        """Show what has just happened."""

    def say(self, text: str) -> None:
        """Show a line that is no event."""

    def stop(self) -> None:
        """Leave the terminal as it was found."""


class Progress:
    """Called with each event of a run; begins to draw with the first one, so that nothing is loaded before.

    `stop` must be called before anything else is written to the terminal; it may be called more than once,
    and nothing is shown after it.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._silent = quiet
        self._view: View | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        if self._silent:
            return
        if self._view is None:
            self._view = _view(cast("TextIO", SafeStream(sys.stderr)))
        self._view.show(event)

    def say(self, text: str) -> None:
        """Show a line about what is going on."""
        if self._silent:
            return
        if self._view is not None:
            self._view.say(text)
        else:
            from circle_migrate.cli.write import progress_line

            progress_line(text)

    def warn(self, text: str) -> None:
        """Show a line that is no progress, and so also where none is wanted."""
        if self._view is not None:
            self._view.say(text)
        else:
            from circle_migrate.cli.write import progress_line

            progress_line(text)

    def stop(self) -> None:
        """End the live view and the heartbeat."""
        self._silent = True
        view, self._view = self._view, None
        if view is not None:
            view.stop()


def _view(stream: TextIO) -> View:
    from circle_migrate.cli.console import console

    screen = console(stream)
    if _can_redraw(screen, stream):
        from circle_migrate.cli.progress_live import Live

        return Live(screen)
    from circle_migrate.cli.progress_lines import Lines

    return Lines(screen)


def _can_redraw(screen: Console, stream: TextIO) -> bool:
    """Whether lines can be drawn over; FORCE_COLOR asks for colours in a pipe, not for a moving cursor."""
    return stream.isatty() and screen.is_interactive


class SafeStream:
    """A stream whose reader may go away: that ends what is shown, and never a migration half-way.

    Rich would end the process, and in doing so turn away what is still to come on stdout.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, where there is still somebody to read it."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        self._try(self._stream.flush)

    def _try(self, function: Any, *arguments: str) -> None:
        try:
            function(*arguments)
        except BlockingIOError:
            pass  # a reader that is too slow misses a line
        except OSError:
            # What remains in Python's buffer would raise again, with every later write and at exit.
            with suppress(OSError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
