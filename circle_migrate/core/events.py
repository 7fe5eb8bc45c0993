"""What a run tells about itself while it goes on; progress on a terminal and lines in a log come from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What has just happened."""

    WAITING = "waiting"
    STARTED = "started"
    DONE = "done"
    RETRY = "retry"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one database; `number` of `total` steps, `seconds` for finished ones."""

    kind: Kind
    database: str
    text: str
    number: int = 0
    total: int = 0
    seconds: float = 0.0


Notify = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """For callers that do not show progress."""
