"""Progress in a log: a line for each thing that happened, and one now and then while nothing does."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from circle_migrate.cli.progress_state import DatabaseProgress, RunProgress
from circle_migrate.core.events import Event, Kind
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT = 30.0
"""Seconds without a line after which the running step is shown again; CI systems end a job that is silent."""

STYLES = {Kind.WAITING: "yellow", Kind.RETRY: "yellow"}


class Lines:
    """Writes lines that are never drawn over; `heartbeat` in seconds."""

    def __init__(self, screen: Console, heartbeat: float = HEARTBEAT) -> None:
        self._screen = screen
        self._heartbeat = heartbeat
        self._standings = RunProgress()
        self._lock = threading.Lock()
        self._due = time.monotonic() + heartbeat
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="progress", daemon=True).start()

    def show(self, event: Event) -> None:
        """Write a line, unless it only repeats that the database waits."""
        with self._lock:
            news = self._standings.take(event)
            text = line(event)
            if text is not None and news:
                self._print(text, STYLES.get(event.kind, ""))

    def say(self, text: str) -> None:
        """Write a line."""
        with self._lock:
            self._print(text)

    def stop(self) -> None:
        """End the heartbeat."""
        with self._lock:
            self._stopped.set()

    def _print(self, text: str, style: str = "") -> None:
        self._screen.print(printable(text), style=style, markup=False, soft_wrap=True)
        self._due = time.monotonic() + self._heartbeat

    def _beat(self) -> None:
        while not self._stopped.wait(max(self._due - time.monotonic(), 0)):
            with self._lock:
                if self._stopped.is_set() or time.monotonic() < self._due:
                    continue
                self._due = time.monotonic() + self._heartbeat
                for name, standing in self._standings.databases.items():
                    if standing.busy:
                        self._print(f"{name}  {self._still(standing)}")

    def _still(self, standing: DatabaseProgress) -> str:
        running = standing.running
        if running:
            running += f"  running for {self._standings.elapsed(standing):.0f} s"
        return ", ".join(filter(None, [running, activity(standing)]))


def line(event: Event) -> str | None:
    """The line that stays on record for an event; None for one that only moves the live view."""
    place = f"[{event.number}/{event.total}] " if event.total else ""
    match event.kind:
        case Kind.DONE:
            return f"{place}{event.database}  {event.text}  {event.seconds:.2f} s"
        case Kind.WAITING | Kind.RETRY:
            return f"{event.database}  {event.kind} {event.text}"
    return None


def activity(standing: DatabaseProgress) -> str:
    """For whom a database waits, how far its index is, or when its step is tried again."""
    return f"{standing.kind} {standing.doing}" if standing.doing else ""


def printable(text: str) -> str:
    """The text without secrets and without what moves a cursor: statements are other people's words."""
    return "".join(each if each.isprintable() else " " for each in redact(text))
