"""The known hazards as a result: `safety-check --list-rules` and `--explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result
from circle_migrate.safety.hazards.hazard import Hazard, render_revisions
from circle_migrate.safety.hazards.loader import HAZARDS


@dataclass(frozen=True, slots=True)
class HazardList(Result):
    """Some hazards; `explained` shows all that is known of them, else a line for each."""

    hazards: tuple[Hazard, ...]
    explained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The records."""
        return {"hazards": [_shown(hazard) for hazard in self.hazards]}


def listed(command: str) -> HazardList:
    """All hazards."""
    return HazardList(command, tuple(HAZARDS.values()))


def explained(command: str, key: str) -> HazardList:
    """One hazard. Raises `UsageError` for an id that none has."""
    hazard = HAZARDS.get(key.upper())
    if hazard is None:
        raise UsageError(
            f"there is no hazard {key!r}",
            hint="they are listed by `circle-migrate safety-check --list-rules`",
        )
    return HazardList(command, (hazard,), explained=True)


def _shown(hazard: Hazard) -> dict[str, Any]:
    return {
        "id": hazard.id,
        "title": hazard.title,
        "class": str(hazard.kind),
        "condition": hazard.condition,
        "effect": hazard.effect,
        "remedy": hazard.remedy,
        "bad": render_revisions(hazard.bad),
        "good": hazard.fix,
    }
