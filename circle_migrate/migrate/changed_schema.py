"""Detect a schema that was changed by hand since the last run, until the change is settled or accepted.

The journal has the fingerprint of the schema after a run. A change from before the run is taken out of it,
and a note of the run says that it is open, so that the next command finds it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.core.errors import text_of

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.journal import Journal
    from circle_migrate.postgres.database import State

_SECONDS = 30.0
"""Time limit for the fingerprint of a schema; one of 5,000 tables takes 0.6 s."""

NOTE = "drift"
"""The key of a run's notes that says what became of a change by hand: open, settled or accepted."""

_CHANGED = "the schema was changed by hand since the last run"
_SHOWN = 5
"""The number of differences that a message names; the others are counted."""


class Change(NamedTuple):
    """A change of a schema that no run has made.

    `recorded` is the fingerprint after the last run, None if it cannot be compared, as after a restore; then
    the change is known from an earlier run. `now` is that of the schema, None if it could not be read.
    """

    recorded: str | None
    now: str | None
    problem: str = ""

    @property
    def is_undone(self) -> bool:
        """Whether the schema is again as the last run has left it."""
        return self.now is not None and self.recorded == self.now


class Drift(NamedTuple):
    """A change by hand, and its differences from the revisions or the `reason` why they are not known.

    It is settled if there is no difference, an error if `diff` ends with status 4 or is not possible. A
    `silent` one was not compared, and nothing is said about it.
    """

    database: str
    change: Change
    differences: tuple[str, ...] = ()
    reason: str = ""
    is_settled: bool = False
    is_error: bool = True
    silent: bool = False

    @property
    def message(self) -> str:
        """What is known, in one line."""
        if self.change.problem:
            return f"{self.database}: whether {_CHANGED} is not known: {self.change.problem}"
        return f"{self.database}: {_CHANGED}{', and does not differ from its revisions' * self.is_settled}"

    @property
    def details(self) -> tuple[str, ...]:
        """The first differences, or the reason."""
        more = len(self.differences) - _SHOWN
        others = [f"and {more} more"] if more > 0 else []
        return (*self.differences[:_SHOWN], *others, *filter(None, [self.reason]))

    @property
    def text(self) -> str:
        """The message with details and remedy; empty for a silent one."""
        lines = [] if self.is_settled else [*self.details, remedy_of_change(self.database)]
        return "" if self.silent else "\n".join([self.message, *lines]).replace("\n", "\n  ")

    def note(self) -> dict[str, object]:
        """Return the note for the journal."""
        outcome = "settled" if self.is_settled else "open"
        return {NOTE: {"outcome": outcome, "differences": list(self.differences)}}


AssessDrift = Callable[[Mapping[str, "State"], Mapping[str, Change]], Awaitable[Mapping[str, Drift]]]
"""Says what the changes of databases are. Raises `SchemaChanged` for one that refuses the run."""


async def report_drift(_states: Mapping[str, State], changes: Mapping[str, Change]) -> dict[str, Drift]:
    """Return every change as one that is open unless it is undone, without a comparison."""
    return {
        name: Drift(
            *(name, change),
            is_settled=change.is_undone,
            is_error=not change.is_undone,
            silent=change.is_undone,
        )
        for name, change in changes.items()
    }


async def find_change(
    journal: Journal, connection: asyncpg.Connection, state: State, *, half_done: bool = False
) -> Change | None:
    """Return the change of the schema since the last run; None if there is none, or if none is known.

    The schema of a revision that is `half_done` is not compared. Raises the errors of the queries.
    """
    from circle_migrate.postgres.catalog.fingerprint import has_changed, schema_fingerprint

    if state.journal_of is None:
        return None
    recorded, is_open = await journal.last_fingerprint(connection)
    if not recorded and not is_open:
        return None
    now = None if half_done else await schema_fingerprint(connection, state, state.current)
    is_changed = has_changed(recorded, now) if recorded and now else None
    if is_changed is None:
        return Change(None, now) if is_open else None
    return Change(recorded, now) if is_changed or is_open else None


async def find_change_or_problem(
    journal: Journal, connection: asyncpg.Connection, state: State, *, half_done: bool
) -> Change | None:
    """Return the change as `find_change`; one that cannot be found out counts as a change with a problem."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await find_change(journal, connection, state, half_done=half_done)
    except Exception as error:  # noqa: BLE001 - a run needs no fingerprint
        return Change(None, None, text_of(error) or f"it took more than {_SECONDS:g} s")


async def fingerprint_after(
    connection: asyncpg.Connection, state: State, heads: tuple[str, ...], drift: Drift | None, seconds: float
) -> str | None:
    """Return the fingerprint of the schema after a run, None where that fails or takes too long.

    An open change is taken out of it. Where that is not possible there is no fingerprint, either.
    """
    from circle_migrate.postgres.catalog.fingerprint import schema_fingerprint, without_change

    try:
        async with asyncio.timeout(seconds):
            after = await schema_fingerprint(connection, state, heads)
    except Exception:  # noqa: BLE001 - the run has succeeded without it
        return None
    if drift is None or drift.is_settled:
        return after
    recorded, now, _ = drift.change
    return without_change(after, recorded, now) if recorded and now else None


def remedy_of_change(name: str) -> str:
    """Return what to do about a schema that has changed since the last run."""
    return (
        f"to see the differences: circle-migrate diff --drift --database {name}\n"
        f"if the schema is right: circle-migrate accept-drift --database {name}"
    )
