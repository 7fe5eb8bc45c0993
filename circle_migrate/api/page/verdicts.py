"""The verdicts of the safety check on pending revisions, for a page that asks every few seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from circle_migrate.api.results import Answer
from circle_migrate.api.snapshot import Snapshot, Taken
from circle_migrate.commands.status import DatabaseStatus
from circle_migrate.core.errors import MigrateError
from circle_migrate.core.findings import Check

_KEEP_SECONDS = 600.0
"""Seconds for which verdicts on the same files are kept, as a check runs them on a scratch server."""


class Verdicts(NamedTuple):
    """The checks by qualified revision; `missing` says why there are none, `is_awaited` if they will come."""

    checks: Mapping[str, Check] = {}
    missing: str = ""
    is_awaited: bool = False


class SafetyChecks:
    """The last verdicts, and the files that they are about."""

    def __init__(self, snapshot: Snapshot[Answer]) -> None:
        self._snapshot = snapshot
        self._files: frozenset[tuple[str, str]] = frozenset()
        self._since = 0.0
        self._kept: Taken[Answer] | None = None

    def verdicts(self, databases: Sequence[DatabaseStatus]) -> Verdicts:
        """Return the verdicts on the pending revisions; start the check where there are none yet."""
        revisions = [revision for item in databases for revision in item.pending]
        files = frozenset((revision.qualified, revision.checksum) for revision in revisions)
        if files != self._files:
            self._files, self._since, self._kept = files, time.monotonic(), None
        if not revisions:
            return Verdicts()
        if self._kept is None or self._kept.age > _KEEP_SECONDS:
            taken = self._snapshot.latest()
            # A check that had begun before these revisions were pending is about others.
            if taken is None or taken.read_at - taken.seconds < self._since:
                return Verdicts(missing="is being checked", is_awaited=True)
            if isinstance(taken.value, MigrateError):
                return Verdicts(missing=f"could not be checked: {taken.value.message}")
            self._kept = taken
        by_name = {check.name: check for check in self._kept.value.result.checks}  # type: ignore[union-attr]
        names = {revision.qualified: f"{revision.database}-{revision.id}" for revision in revisions}
        return Verdicts({key: by_name[name] for key, name in names.items() if name in by_name})
