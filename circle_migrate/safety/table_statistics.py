"""The result of `stats`: the sizes of the tables of each database, without their data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.safety.live_database.record import Size


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """The version of a server and the sizes of its database by relation."""

    server_version_num: int
    sizes: Mapping[str, Size]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of databases by name, and when they were taken."""

    taken_at: datetime
    databases: Mapping[str, DatabaseStats]

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics for JSON, sorted."""
        return {
            "taken_at": self.taken_at.isoformat(),
            "databases": {
                name: {
                    "server_version_num": database.server_version_num,
                    "relations": {
                        relation: {"rows": size.rows, "bytes": size.bytes, "index_bytes": size.index_bytes}
                        for relation, size in sorted(database.sizes.items())
                    },
                }
                for name, database in sorted(self.databases.items())
            },
        }


@dataclass(frozen=True, slots=True)
class StatsResult(Result):
    """Statistics, and the file that they were written to, None if none."""

    statistics: Statistics
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the file and the statistics for the JSON output."""
        return {"file": self.file, **self.statistics.to_dict()}
