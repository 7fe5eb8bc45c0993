"""The result of `snapshot`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.postgres.catalog.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SnapshotResult(Result):
    """Snapshots by database, and the files that they were written to."""

    snapshots: Mapping[str, Snapshot]
    files: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return each snapshot; only its file and its digest if it was written."""
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
