"""The result of `protect` and `unprotect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from circle_migrate.core.result import Result
from circle_migrate.postgres.protection_marker import Protection


@dataclass(frozen=True, slots=True)
class ProtectionResult(Result):
    """The protection of each database, None for an unprotected one.

    `run` is the run in the journals, None if nothing had to be changed.
    """

    databases: Mapping[str, Protection | None]
    run: str | None = None
    changed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the protection of each database, and the databases whose marker was changed."""
        return {
            "run": self.run,
            "changed": list(self.changed),
            "databases": {
                name: protection.to_dict() if protection else None
                for name, protection in self.databases.items()
            },
        }
