"""A run that has not ended: how far it is.

A step of an open transaction is in no journal that other sessions see. So each step puts its number into the
`application_name` of its session, which every role can read, in the message that sets the step's path.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from circle_migrate.core.result import json_fields
from circle_migrate.postgres.database import APPLICATION_NAME

if TYPE_CHECKING:
    from circle_migrate.migrate.journal_rows import JournalRun
    from circle_migrate.postgres.deployer_lock import LockHolder

_NAME = re.compile(
    rf"{APPLICATION_NAME} (?P<run>[0-9a-f]{{8}})(?: (?P<step>[0-9]{{1,6}})/[0-9]+ (?P<id>.+))?"
)


def session_name(run: str) -> str:
    """Return the name of a session of the run."""
    return f"{APPLICATION_NAME} {run[:8]}"


def step_name(run: str, number: int, total: int, revision: str) -> str:
    """Return the name of the session while the step runs, and until the next one begins."""
    return f"{session_name(run)} {number}/{total} {revision}"


class ActiveRun(NamedTuple):
    """A run that has the deployer lock of a database.

    `step` is the number of the last step that began on this database, of the `steps` on all of them, and
    `action` describes it; both are None before the first. `blocked_by` are the process ids of the sessions
    whose locks it waits for, 0 for a prepared transaction. The time is the server's.
    """

    run: str
    command: str
    started_at: datetime
    steps: int
    step: int | None = None
    action: str | None = None
    blocked_by: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON."""
        return json_fields(self, " ".join(self._fields))


def active_run(holder: LockHolder | None, last: JournalRun | None) -> ActiveRun | None:
    """Return the `last` run of the journal if the holder of the deployer lock is a session of it."""
    found = _NAME.fullmatch((holder and holder.application) or "")
    if holder is None or last is None or found is None or last.outcome != "started":
        return None
    if not last.run.startswith(found["run"]):
        return None
    steps = sum(map(len, last.planned.values()))
    run = ActiveRun(last.run, last.command, last.started_at, steps, blocked_by=tuple(holder.blocked_by))
    if found["step"] is None or int(found["step"]) > steps:
        return run
    # The server cuts the name after 63 bytes, and may replace characters.
    planned = (text for text in last.planned.get(last.database, ()) if f" {found['id']}" in text)
    return run._replace(step=int(found["step"]), action=next(planned, found["id"]))
