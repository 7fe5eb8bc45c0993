"""What `snapshot` returns: the catalogue of each database, or the file it was written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.postgres.catalog.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SnapshotResult(Result):
    """Snapshots by database; `files` says where each was written, and is empty where none was."""

    snapshots: Mapping[str, Snapshot]
    files: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Each snapshot; of one that was written only where, and what tells it from others."""
        return {
            "snapshots": {
                name: {
                    "file": self.files.get(name),
                    "digest": snapshot.digest,
                    "origin": snapshot.origin,
                    "server_version_num": snapshot.server_version_num,
                    "revisions": None if snapshot.revisions is None else list(snapshot.revisions),
                    "snapshot": None if name in self.files else snapshot.to_dict(),
                }
                for name, snapshot in self.snapshots.items()
            }
        }
