"""The verdicts of the safety check on pending revisions, for a page that asks every few seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from circle_migrate.api.results import Answer
from circle_migrate.api.snapshot import Snapshot, Taken
from circle_migrate.commands.status import DatabaseStatus
from circle_migrate.core.errors import MigrateError
from circle_migrate.safety.result import HazardFinding

_KEEP_SECONDS = 600.0
"""Seconds for which verdicts are kept while the same revisions are pending, as a check needs a scratch server."""


class Verdict(NamedTuple):
    """The findings by qualified revision, or why there are none; `is_awaited` if they come later."""

    by_revision: Mapping[str, Sequence[HazardFinding]] = {}
    missing: str = ""
    is_awaited: bool = False


class Verdicts:
    """The last verdicts, and the revisions that they are about."""

    def __init__(self, snapshot: Snapshot[Answer]) -> None:
        self._snapshot = snapshot
        self._kept: tuple[tuple[str, ...], Taken[Answer]] | None = None

    def of(self, databases: Sequence[DatabaseStatus]) -> Verdict:
        """Return the verdicts on the pending revisions; start the check where there are none yet."""
        pending = tuple(revision.qualified for item in databases for revision in item.pending)
        if not pending:
            return Verdict()
        if self._kept is None or self._kept[0] != pending or self._kept[1].age > _KEEP_SECONDS:
            taken = self._snapshot.latest()
            if taken is None:
                return Verdict(missing="is being checked", is_awaited=True)
            self._kept = pending, taken
        taken = self._kept[1]
        if isinstance(taken.value, MigrateError):
            return Verdict(missing=f"could not be checked: {taken.value.message}")
        findings: dict[str, list[HazardFinding]] = {}
        for finding in taken.value.result.findings:  # type: ignore[attr-defined]
            findings.setdefault(f"{finding.database}@{finding.revision}", []).append(finding)
        return Verdict(findings)
