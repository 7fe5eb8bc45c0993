"""Progress in a log: a line for each finished step, and a heartbeat while nothing finishes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from circle_migrate.cli.progress_state import DatabaseProgress, RunProgress
from circle_migrate.core.events import Event, EventKind
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT = 30.0
"""Seconds without a line after which the running step is shown again; CI systems end a silent job."""

STYLES = {EventKind.WAITING: "yellow", EventKind.RETRY: "yellow"}


class Lines:
    """A view that writes lines and redraws none; `heartbeat` in seconds."""

    def __init__(self, screen: Console, heartbeat: float = HEARTBEAT) -> None:
        self._screen = screen
        self._heartbeat = heartbeat
        self._progress = RunProgress()
        self._lock = threading.Lock()
        self._due = time.monotonic() + heartbeat
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="progress", daemon=True).start()

    def show(self, event: Event) -> None:
        """Write a line, unless the database only goes on waiting."""
        with self._lock:
            is_news = self._progress.update(event)
            text = line(event)
            if text is not None and is_news:
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
                for name, progress in self._progress.databases.items():
                    if progress.busy:
                        self._print(f"{name}  {self._heartbeat_text(progress)}")

    def _heartbeat_text(self, progress: DatabaseProgress) -> str:
        running = progress.running
        if running:
            running += f"  running for {self._progress.elapsed(progress):.0f} s"
        return ", ".join(filter(None, [running, progress.description]))


def line(event: Event) -> str | None:
    """Return the line that an event leaves in the log; None for one that changes only the live view."""
    match event.kind:
        case EventKind.DONE:
            step = f"[{event.number}/{event.total}] " if event.total else ""
            return f"{step}{event.database}  {event.text}  {event.seconds:.2f} s"
        case EventKind.WAITING | EventKind.RETRY:
            return f"{event.database}  {event.kind} {event.text}"
    return None


def printable(text: str) -> str:
    """Return the text without secrets and control characters: it can quote another session's statement."""
    return "".join(character if character.isprintable() else " " for character in redact(text))
