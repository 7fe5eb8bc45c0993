"""Progress in a log: a line for each finished step, and a heartbeat; the progress of every database."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.core.events import Event, EventKind

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT = 30.0
"""Seconds without a line after which the running step is shown again; CI systems end a silent job."""

_NO_BREAK = "\N{NO-BREAK SPACE}"
STYLES = {EventKind.WAITING: "yellow", EventKind.RETRY: "yellow"}


@dataclass(slots=True)
class DatabaseProgress:
    """The progress of one database.

    `steps` are all planned steps, `done` the numbers of the finished ones, `committed` their count at the
    last commit. `running` is the running step, `since` its start on the monotonic clock. `kind` is
    the last event, `activity` its text, such as the session that blocks the database, the progress of an
    index build, or the time of a retry. `keys_read` is the number of keys read, and their total.
    """

    steps: tuple[str, ...] = ()
    done: list[int] = field(default_factory=list)
    committed: int = 0
    running: str = ""
    since: float = 0.0
    kind: EventKind = EventKind.PLANNED
    activity: str = ""
    keys_read: tuple[int, int] = (0, 0)

    @property
    def next(self) -> str:
        """The first step that has not run; empty if there is none."""
        return self.steps[len(self.done)] if len(self.done) < len(self.steps) else ""

    @property
    def seconds(self) -> float:
        """For how many seconds the running step has been running."""
        return time.monotonic() - self.since

    @property
    def description(self) -> str:
        """The last event with its text; empty if it has none."""
        return f"{self.kind} {self.activity}" if self.activity else ""


class View:
    """A view of the progress of a run by database, which other threads redraw or repeat."""

    def __init__(self, screen: Console) -> None:
        self.databases: dict[str, DatabaseProgress] = {}
        self._screen = screen
        self._lock = threading.RLock()
        self._stopped = threading.Event()

    def update(self, event: Event) -> bool:
        """Apply an event. Returns False for a database that only goes on waiting."""
        progress = self.databases.setdefault(event.database, DatabaseProgress())
        is_news = event.kind is not EventKind.WAITING or progress.kind is not EventKind.WAITING
        progress.kind, progress.activity = event.kind, ""
        match event.kind:
            case EventKind.PLANNED:
                progress.steps, progress.done, progress.committed = event.steps, [], 0
            case EventKind.STARTED:
                progress.running, progress.since = event.text, time.monotonic()
            case EventKind.DONE:
                progress.done.append(event.number)
                progress.running = ""
            case EventKind.RETRY:
                for other in self.databases.values():
                    other.done = [step for step in other.done if step <= event.number]
                    other.running, other.kind, other.activity = "", EventKind.RETRY, ""
                progress.activity = event.text
            case EventKind.COMMITTED:
                progress.committed = len(progress.done)
            case _:
                progress.activity, progress.keys_read = event.text, (event.number, event.total)
        return is_news

    def show(self, event: Event) -> None:
        """Update the view, and write the line of the event, unless a database only goes on waiting."""
        with self._lock:
            is_news = self.update(event)
        text = line(event)
        if text is not None and is_news:
            self.say(text, STYLES.get(event.kind, ""))

    def say(self, text: str, style: str = "") -> None:
        """Write a line; on a terminal it wraps between words."""
        with self._lock:
            shown = visible(text.replace("\n", " "))
            if self._screen.is_terminal:
                shown = _wrap(shown, self._screen.width)
            self._screen.print(shown, style=style, markup=False)

    def stop(self) -> None:
        """End the view."""
        with self._lock:
            self._stopped.set()


class Lines(View):
    """A view that writes lines and redraws none; `heartbeat` in seconds."""

    def __init__(self, screen: Console, heartbeat: float = HEARTBEAT) -> None:
        super().__init__(screen)
        self._heartbeat = heartbeat
        self._due = time.monotonic() + heartbeat
        threading.Thread(target=self._beat, name="progress", daemon=True).start()

    def say(self, text: str, style: str = "") -> None:
        """Write a line, and delay the heartbeat."""
        with self._lock:
            super().say(text, style)
            self._due = time.monotonic() + self._heartbeat

    def _beat(self) -> None:
        while not self._stopped.wait(max(self._due - time.monotonic(), 0)):
            with self._lock:
                if self._stopped.is_set() or time.monotonic() < self._due:
                    continue
                self._due = time.monotonic() + self._heartbeat
                for name, progress in self.databases.items():
                    running = progress.running
                    if running:
                        running += f"  running for {progress.seconds:.0f} s"
                    if text := ", ".join(filter(None, [running, progress.description])):
                        self.say(f"{name}  {text}")


def _wrap(text: str, width: int) -> str:
    """Break the text into lines between words, but not before the unit of a duration at its end."""
    wrapper = TextWrapper(width, expand_tabs=False, replace_whitespace=False, break_long_words=False)
    wrapper.break_on_hyphens = False
    lines = wrapper.wrap(re.sub(r"(?<=\d) s$", _NO_BREAK + "s", text))
    return "\n".join(lines).replace(_NO_BREAK, " ")


def line(event: Event) -> str | None:
    """Return the line that an event leaves in the log; None for one that changes only the live view."""
    match event.kind:
        case EventKind.DONE:
            step = f"[{event.number}/{event.total}] " if event.total else ""
            return f"{step}{event.database}  {event.text}  {event.seconds:.2f} s"
        case EventKind.WAITING | EventKind.RETRY:
            return f"{event.database}  {event.kind} {event.text}"
    return None
