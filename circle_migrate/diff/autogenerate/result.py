"""Result of `revision` and `merge`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.revision_graph.revision import Revision


@dataclass(frozen=True, slots=True)
class RevisionFilesResult(Result):
    """The revision files that were written; none if nothing has changed."""

    revisions: tuple[Revision, ...]
    unchanged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the new revisions, the unchanged databases and the notes."""
        return {
            "revisions": [revision.to_dict() for revision in self.revisions],
            "unchanged": list(self.unchanged),
            "notes": list(self.notes),
        }
