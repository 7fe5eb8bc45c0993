"""The progress of every database of a run, from its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from circle_migrate.core.events import Event, EventKind


@dataclass(slots=True)
class DatabaseProgress:
    """The progress of one database.

    `steps` are all planned steps, `done` the numbers of the finished ones, `committed` their count at the
    last commit. `running` is the running step, `since` its start by the clock of `RunProgress`. `kind` is
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
    def busy(self) -> bool:
        """Whether a step runs or the database waits."""
        return bool(self.running or self.activity)

    @property
    def description(self) -> str:
        """The last event with its text; empty if it has none."""
        return f"{self.kind} {self.activity}" if self.activity else ""


class RunProgress:
    """The progress of all databases of a run; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.databases: dict[str, DatabaseProgress] = {}

    def elapsed(self, progress: DatabaseProgress) -> float:
        """Return for how many seconds the running step has been running."""
        return self.clock() - progress.since

    def update(self, event: Event) -> bool:
        """Apply an event. Returns False for a database that only goes on waiting."""
        progress = self.databases.setdefault(event.database, DatabaseProgress())
        is_news = event.kind is not EventKind.WAITING or progress.kind is not EventKind.WAITING
        progress.kind, progress.activity = event.kind, ""
        match event.kind:
            case EventKind.PLANNED:
                progress.steps, progress.done, progress.committed = event.steps, [], 0
            case EventKind.STARTED:
                progress.running, progress.since = event.text, self.clock()
            case EventKind.DONE:
                progress.done.append(event.number)
                progress.running = ""
            case EventKind.RETRY:
                self._roll_back(event.number)
                progress.activity = event.text
            case EventKind.COMMITTED:
                progress.committed = len(progress.done)
            case (
                EventKind.WAITING
                | EventKind.BUILDING
                | EventKind.WORKING
                | EventKind.COPYING
                | EventKind.READING
            ):
                progress.activity, progress.keys_read = event.text, (event.number, event.total)
        return is_news

    def _roll_back(self, number: int) -> None:
        for progress in self.databases.values():
            progress.done = [step for step in progress.done if step <= number]
            progress.running, progress.kind, progress.activity = "", EventKind.RETRY, ""
