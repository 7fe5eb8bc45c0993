"""Every known hazard, one record each: rules, reports, `--explain` and docs/hazards.md are made from them.

Ids are stable; their tens say what a hazard is about, for people who read many. One id has one remedy:
what blocks in the same way but is avoided in another way has an id of its own.
"""

from __future__ import annotations

from circle_migrate.core.hazards.across import ACROSS
from circle_migrate.core.hazards.application import APPLICATION
from circle_migrate.core.hazards.failing import FAILING
from circle_migrate.core.hazards.indexes import INDEXES
from circle_migrate.core.hazards.locks import LOCKS
from circle_migrate.core.hazards.loss import LOSS
from circle_migrate.core.hazards.record import Example, Hazard, HazardClass
from circle_migrate.core.hazards.sqlstates import SQLSTATES, SqlState
from circle_migrate.core.hazards.work import WORK
from circle_migrate.core.hazards.writing import WRITING

__all__ = ["HAZARDS", "SQLSTATES", "Example", "Hazard", "HazardClass", "SqlState"]

_ALL = (*WORK, *INDEXES, *LOCKS, *LOSS, *FAILING, *APPLICATION, *WRITING, *ACROSS)

HAZARDS: dict[str, Hazard] = {each.id: each for each in sorted(_ALL, key=lambda each: each.id)}
"""Every hazard by its id, in the order of the ids."""
