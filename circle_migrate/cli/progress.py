"""Events of a run as progress on stderr: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO, cast

from circle_migrate.cli.console import console
from circle_migrate.cli.streams import SafeStream
from circle_migrate.cli.write import write_stderr
from circle_migrate.core.events import ignore_event

if TYPE_CHECKING:
    from circle_migrate.cli.progress_lines import View
    from circle_migrate.core.events import Event, Notify


class Progress:
    """The receiver of a run's events; it creates its view with the first event, to import rich only then.

    With `quiet` only warnings are shown, without `steps` no event. `log` gets every event.
    Call `stop` before anything else is written to the terminal. It may be called more than once; nothing
    but warnings is shown after it.
    """

    def __init__(self, *, quiet: bool, steps: bool = True, log: Notify = ignore_event) -> None:
        self._log = log
        self._silent, self._steps = quiet, steps
        self._view: View | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        self._log(event)
        if self._silent or not self._steps:
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
            write_stderr(text)

    def stop(self) -> None:
        """End the view."""
        self._silent = True
        view, self._view = self._view, None
        if view is not None:
            view.stop()


def _view(stream: TextIO) -> View:
    screen = console(stream)
    # FORCE_COLOR asks for colours in a pipe, not for a moving cursor.
    if stream.isatty() and screen.is_interactive:
        from circle_migrate.cli.progress_live import Live

        return Live(screen)
    from circle_migrate.cli.progress_lines import Lines

    return Lines(screen)
