"""What is read from the journal of a database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple


class JournalStep(NamedTuple):
    """A step of the journal; `elsewhere` has the current revisions of the other databases."""

    run: str
    segment: int
    direction: str
    revision: str
    message: str
    started_at: datetime
    duration_ms: float
    checksum: str | None
    elsewhere: Mapping[str, Sequence[str]]


class JournalRun(NamedTuple):
    """A run of the journal with its committed steps; times are the server's."""

    database: str
    run: str
    command: str
    mode: str
    planned: Mapping[str, Sequence[str]]
    outcome: str
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    db_role: str
    os_user: str
    host: str
    tool_version: str
    notes: Mapping[str, Any] = {}
    steps: tuple[JournalStep, ...] = ()


class AppliedBy(NamedTuple):
    """The release that last applied a revision, the time by the server's clock, and the user."""

    tool_version: str
    at: datetime
    by: str


def os_user() -> str:
    """Return the name of the user for the operating system, `unknown` where it has none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
