"""What a run tells about itself while it goes on; progress on a terminal and lines in a log come from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What has just happened.

    WAITING (for whom), BUILDING (how far an index is) and WORKING (neither, any more) are what the server
    was seen doing, COPYING how many bytes a dump or a restored database has by now, READING how many keys
    were read. RETRY means that every step after `number` has been rolled back, on all databases.
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


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one database.

    `number` of `total` steps of the whole run (of READING: keys, about), `seconds` for a finished one,
    `steps` for PLANNED: all that is to come on the database.
    """

    kind: Kind
    database: str
    text: str
    number: int = 0
    total: int = 0
    seconds: float = 0.0
    steps: tuple[str, ...] = ()


Notify = Callable[[Event], None]


def discard(_event: Event) -> None:
    """For callers that do not show progress."""
