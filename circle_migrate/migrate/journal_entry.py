"""Rows of the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple


class JournalStep(NamedTuple):
    """One step of the journal; times are the server's, `duration_ms` in milliseconds."""

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
    """One run of the journal with the steps that were committed; `notes` is kept by its command."""

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
    """Which release of this package last applied a revision, when by the server's clock, and who ran it."""

    tool_version: str
    at: datetime
    by: str
