"""Stored values that rest on a function: PostgreSQL does not compute them anew when it is replaced."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Op
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.timeline import STORING, StatementContext, Timeline
from circle_migrate.safety.trace.record import Task

_COMPUTED = {"index": "definition", "constraint": "definition", "column": "generated"}
"""Kinds of objects whose rows were computed, and where snapshots have by what."""


def check_stored_expressions(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about functions that indexes, constraints and generated columns call."""
    if scene.statement.error is not None:
        return
    for change in scene.changes(Op.CHANGED, "function"):
        if "definition" not in change.fields or not scene.existed(change.key):
            continue
        for user, table in _users(scene, change.key):
            if not (user.kind == "index" and _is_rebuilt(story, scene, table)):
                yield story.finding(
                    scene,
                    "CM039",
                    Severity.WARNING,
                    user.identity,
                    f"what it has of old rows was computed by {change.key.identity} as it was",
                    relation=scene.live_relation(table),
                )


def _users(scene: StatementContext, function: ObjectKey) -> Iterator[tuple[ObjectKey, ObjectKey]]:
    """What calls a function to compute what is stored, with its table; not what the plan has made."""
    call = function.identity.partition("(")[0] + "("
    tables = {str(key): key for key in scene.before if key.kind in STORING}
    for key, fields in scene.before.items():
        table = tables.get(fields.get("of") or "")
        text = fields.get(_COMPUTED.get(key.kind, ""))
        if table is not None and text is not None and call in text and scene.existed(key):
            yield key, table


def _is_rebuilt(story: Timeline, scene: StatementContext, table: ObjectKey) -> bool:
    """Whether the plan builds indexes of the table anew afterwards."""
    return any(
        work.task is Task.INDEX_BUILD and work.relation == table.identity
        for later in story.scenes[scene.place + 1 :]
        if later.statement.database == scene.statement.database
        for work in later.statement.work
    )
