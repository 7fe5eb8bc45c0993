"""Hazards as the result of `safety-check --list-rules` and `--explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circle_migrate.core.errors import UsageError
from circle_migrate.core.result import Result
from circle_migrate.safety.hazards.hazard import Hazard, render_revisions
from circle_migrate.safety.hazards.loader import HAZARDS


@dataclass(frozen=True, slots=True)
class HazardList(Result):
    """Hazards, shown with all their texts if `explained`, else one a line."""

    hazards: tuple[Hazard, ...]
    explained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the hazards for the JSON output."""
        return {"hazards": [_hazard_to_dict(hazard) for hazard in self.hazards]}


def list_hazards(command: str) -> HazardList:
    """Return all hazards."""
    return HazardList(command, tuple(HAZARDS.values()))


def explain_hazard(command: str, key: str) -> HazardList:
    """Return one hazard. Raises `UsageError` for an unknown id."""
    hazard = HAZARDS.get(key.upper())
    if hazard is None:
        raise UsageError(
            f"there is no hazard {key}",
            hint="list the hazards: circle-migrate safety-check --list-rules",
        )
    return HazardList(command, (hazard,), explained=True)


def _hazard_to_dict(hazard: Hazard) -> dict[str, Any]:
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
