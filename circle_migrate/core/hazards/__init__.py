"""The known hazards, one TOML file each in data/: the source of reports, `--explain` and docs/hazards.md.

Ids are stable; their tens group related hazards. Each hazard has one remedy: what blocks in the same way but
is avoided in another way is a hazard of its own.
"""

from __future__ import annotations

from circle_migrate.core.hazards.loader import HAZARDS, SQLSTATES, SqlState
from circle_migrate.core.hazards.record import ExampleRevision, Hazard, HazardClass, render_revisions

__all__ = [
    "HAZARDS",
    "SQLSTATES",
    "ExampleRevision",
    "Hazard",
    "HazardClass",
    "SqlState",
    "render_revisions",
]
