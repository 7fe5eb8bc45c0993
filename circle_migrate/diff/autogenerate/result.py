"""Result of `revision` and `merge`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.revision_graph.revision import Revision


@dataclass(frozen=True, slots=True)
class RevisionFilesResult(Result):
    """Files that were written: `revision` and `merge`; empty where nothing had changed."""

    revisions: tuple[Revision, ...]
    unchanged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The new revisions, and the databases for which there was nothing to write."""
        return {
            "revisions": [revision.to_dict() for revision in self.revisions],
            "unchanged": list(self.unchanged),
            "notes": list(self.notes),
        }
