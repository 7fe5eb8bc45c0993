"""The result of `protect` and `unprotect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.postgres.protection_marker import Protection


@dataclass(frozen=True, slots=True)
class ProtectionResult(Result):
    """What `protect` and `unprotect` have left: for each database its protection, None where there is none.

    `run` is their run in the journals, None where nothing had to be done.
    """

    databases: Mapping[str, Protection | None]
    run: str | None = None
    changed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The protection of each database, and which markers were written or removed."""
        return {
            "run": self.run,
            "changed": list(self.changed),
            "databases": {
                name: protection.to_dict() if protection else None
                for name, protection in self.databases.items()
            },
        }
