"""Where each database of a run stands, as its events tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from circle_migrate.core.events import Event, Kind


@dataclass(slots=True)
class DatabaseProgress:
    """One database: its steps, the numbers of those that are done, the one that runs, what that one does.

    `since` is when the running step began, by the clock of `RunProgress`; `doing` is for whom it waits, how
    far its index is, or when it is tried again; `share` is how much of how much it has read.
    """

    steps: tuple[str, ...] = ()
    done: list[int] = field(default_factory=list)
    committed: int = 0
    running: str = ""
    since: float = 0.0
    kind: Kind = Kind.PLANNED
    doing: str = ""
    share: tuple[int, int] = (0, 0)

    @property
    def next(self) -> str:
        """The first step that has not run yet; empty where all have, or nothing was planned."""
        return self.steps[len(self.done)] if len(self.done) < len(self.steps) else ""

    @property
    def busy(self) -> bool:
        """Whether a step runs or the database waits."""
        return bool(self.running or self.doing)

    def see(self, kind: Kind, doing: str = "") -> None:
        """Note what the database was last seen doing."""
        self.kind, self.doing = kind, doing


class RunProgress:
    """All databases of a run; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.databases: dict[str, DatabaseProgress] = {}

    def elapsed(self, standing: DatabaseProgress) -> float:
        """For how many seconds the running step has been running."""
        return self.clock() - standing.since

    def take(self, event: Event) -> bool:
        """Follow what has just happened; whether it is news, and not a database that goes on waiting."""
        standing = self.databases.setdefault(event.database, DatabaseProgress())
        news = event.kind is not Kind.WAITING or standing.kind is not Kind.WAITING
        match event.kind:
            case Kind.PLANNED:
                standing.steps, standing.done, standing.committed = event.steps, [], 0
                standing.see(event.kind)
            case Kind.STARTED:
                standing.running, standing.since = event.text, self.clock()
                standing.see(event.kind)
            case Kind.DONE:
                standing.done.append(event.number)
                standing.running = ""
                standing.see(event.kind)
            case Kind.RETRY:
                self._roll_back(event.number)
                standing.see(event.kind, event.text)
            case Kind.COMMITTED:
                standing.committed = len(standing.done)
                standing.see(event.kind)
            case Kind.WAITING | Kind.BUILDING | Kind.WORKING | Kind.COPYING | Kind.READING:
                standing.see(event.kind, event.text)
                standing.share = (event.number, event.total)
        return news

    def _roll_back(self, number: int) -> None:
        for standing in self.databases.values():
            standing.done = [each for each in standing.done if each <= number]
            standing.running = ""
            standing.see(Kind.RETRY)
