"""What `stats` returns: how large the tables of each database are, and nothing of what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.safety.live_database.record import Size


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """The sizes of one database, by relation, and the version of its server."""

    server_version_num: int
    sizes: Mapping[str, Size]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The measurements of databases that were taken at one time, by name."""

    taken_at: datetime
    databases: Mapping[str, DatabaseStats]

    def to_dict(self) -> dict[str, Any]:
        """The statistics as JSON has them, sorted."""
        return {
            "taken_at": self.taken_at.isoformat(),
            "databases": {
                name: {
                    "server_version_num": database_stats.server_version_num,
                    "relations": {
                        relation: {"rows": size.rows, "bytes": size.bytes, "index_bytes": size.index_bytes}
                        for relation, size in sorted(database_stats.sizes.items())
                    },
                }
                for name, database_stats in sorted(self.databases.items())
            },
        }


@dataclass(frozen=True, slots=True)
class StatsResult(Result):
    """Statistics, and the file they were written to, None where they were not."""

    statistics: Statistics
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of them, wherever else they were written."""
        return {"file": self.file, **self.statistics.to_dict()}
