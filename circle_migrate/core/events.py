"""Progress events of a run, shown on a terminal or written as log lines."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class EventKind(StrEnum):
    """Kind of an event.

    WAITING (for a lock), BUILDING (progress of an index) and WORKING (neither any more) come from polling the
    server; COPYING counts the bytes of a dump or a restored database, READING the keys that were read. RETRY
    means that every step after `number` was rolled back on all databases.
    """

    PLANNED = "planned"
    WAITING = "waiting"
    BUILDING = "building"
    WORKING = "working"
    COPYING = "copying"
    READING = "reading"
    STARTED = "started"
    DONE = "done"
    RETRY = "retry"
    COMMITTED = "committed"


class Event(NamedTuple):
    """An event of one database.

    `number` and `total` count steps of the whole run (READING: keys, estimated). `seconds` is the duration of
    a finished step, `steps` (PLANNED only) all steps of the database.
    """

    kind: EventKind
    database: str
    text: str
    number: int = 0
    total: int = 0
    seconds: float = 0.0
    steps: tuple[str, ...] = ()


Notify = Callable[[Event], None]


def ignore_event(_event: Event) -> None:
    """Ignore an event, for callers that do not show progress."""
