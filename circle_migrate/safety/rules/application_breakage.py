"""What statements of the release that is still running meet when a transaction has been committed."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import matcher, own_name, selected
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.failure import lacks_extension
from circle_migrate.safety.rules.timeline import RELATIONS, STORING, CatalogState, StatementContext, Timeline

_CALLED = frozenset({"function", "procedure", "aggregate", "window function"})
_NAMED = RELATIONS | _CALLED | {"sequence", "enum", "domain", "composite type", "range type", "schema"}
"""Kinds whose names stand in statements of an application."""

_REMOVED = (RELATIONS - STORING) | _CALLED | {"trigger", "extension", "schema"}
"""Kinds that hold no rows, of which nothing is lost but the name."""

_FILLING = ("default", "identity", "generated")
"""What gives a column a value that an insert leaves out."""

# https://www.postgresql.org/docs/current/sql-createview.html#SQL-CREATEVIEW-UPDATABLE-VIEWS
_READ_ONLY = matcher(r"\b(?:JOIN|WITH|DISTINCT|GROUP BY|HAVING|LIMIT|OFFSET|UNION|INTERSECT|EXCEPT)\b")


def check_removed_names(story: Timeline, scenes: tuple[StatementContext, ...]) -> Iterator[HazardFinding]:
    """Yield a finding for each name that no longer resolves after the transaction."""
    errors = (scene.statement.error for scene in scenes)
    if any(error is not None and not lacks_extension(error) for error in errors):
        return
    for scene in scenes:
        for old in scene.renamed:
            if scene.origin(old) == old and not _answers(scenes, old):
                yield from _renamed(story, scene, old)
        yield from _relabelled(story, scene)
        for change in scene.changes(Op.CHANGED, "column"):
            yield from _without_default(story, scene, change, scenes[-1].after)
        for change in scene.dropped:
            if change.key.kind in _REMOVED and not _answers(scenes, change.key):
                yield from _removed(story, scene, change)


def _renamed(story: Timeline, scene: StatementContext, old: ObjectKey) -> Iterator[HazardFinding]:
    """A name by itself; those of columns and parts go with the relation they belong to."""
    new = scene.renamed[old]
    owner = next((change.owner for change in scene.changes(Op.REMOVED) if change.key == old), None)
    if old.kind == "column":
        if owner is None or owner.kind not in RELATIONS or owner in scene.renamed:
            return
    elif old.kind not in _NAMED or _in_renamed_schema(scene, old) or owner in scene.renamed:
        return
    yield story.finding(
        scene,
        "CM030",
        Severity.ERROR,
        old.identity,
        f"it is {new.identity} now, and nothing answers to the old name when the transaction ends",
        relation=scene.live_relation(owner if old.kind == "column" else old),
    )


def _in_renamed_schema(scene: StatementContext, key: ObjectKey) -> bool:
    return key.kind != "schema" and any(object_key.kind == "schema" for object_key in scene.renamed)


def _answers(scenes: tuple[StatementContext, ...], key: ObjectKey) -> bool:
    """Whether something can be used under the name when the transaction ends.

    A function may have got other arguments, as long as one of its name is there.
    """
    before, after = scenes[0].before, scenes[-1].after
    if key.kind in RELATIONS:
        found = (ObjectKey(kind, key.identity) for kind in RELATIONS)
        return any(object_key in after and _serves(before, key, after, object_key) for object_key in found)
    if key.kind in _CALLED:
        name = key.identity.partition("(")[0]
        return any(
            object_key.identity.partition("(")[0] == name
            for object_key in after
            if object_key.kind in _CALLED
        )
    return key in after


def _serves(before: CatalogState, old: ObjectKey, after: CatalogState, new: ObjectKey) -> bool:
    """Whether what is in the place of a relation has its columns, and lets rows be written as before."""
    writable = old.kind not in STORING or new.kind != "view"
    if not writable and _READ_ONLY.search(after[new].get("definition") or ""):
        return False
    return _columns(before, old) <= _columns(after, new)


def _columns(world: CatalogState, relation: ObjectKey) -> set[str]:
    """The names of a relation's columns; those of a view are in its definition alone."""
    if relation.kind == "view":
        return set(selected(world.get(relation, {}).get("definition") or ""))
    return {
        own_name(key.identity)
        for key, fields in world.items()
        if key.kind == "column" and fields.get("of") == str(relation)
    }


def _relabelled(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    for change in scene.changes(Op.CHANGED, "enum"):
        old, new = ((side or "").split("\n") for side in change.fields.get("labels", ("", "")))
        gone = sorted(set(old) - set(new))
        if gone and len(old) == len(new) and scene.existed(change.key):
            yield story.finding(
                scene,
                "CM030",
                Severity.ERROR,
                change.key.identity,
                f"the value {', '.join(gone)} has another name now",
            )


def _removed(story: Timeline, scene: StatementContext, change: Change) -> Iterator[HazardFinding]:
    if change.owner is not None and change.owner in scene.gone:
        return
    name = own_name(change.key.identity)
    why = "it does not fire any more" if change.key.kind == "trigger" else f"statements that name {name} fail"
    yield story.finding(scene, "CM035", Severity.WARNING, change.key.identity, why)


def check_alterations(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about columns of which statements of the running release expect something else."""
    if scene.statement.error is not None:
        return
    for change in (*scene.added, *scene.changes(Op.CHANGED, "column")):
        if not _is_old_tables(scene, change):
            continue
        if change.fields.get("type", ("", ""))[1] == "json":
            yield story.finding(
                scene,
                "CM031",
                Severity.WARNING,
                change.key.identity,
                "json has no equality: DISTINCT, GROUP BY and UNION over the table's columns fail (42883)",
                relation=scene.live_relation(change.owner),
            )


def _is_old_tables(scene: StatementContext, change: Change) -> bool:
    """Whether it is about a column of a table that existed before."""
    owner = change.owner
    return (
        change.key.kind == "column" and owner is not None and owner.kind in STORING and scene.existed(owner)
    )


def _without_default(
    story: Timeline, scene: StatementContext, change: Change, last: CatalogState
) -> Iterator[HazardFinding]:
    """A column that has to be given from the commit on: what a later statement mends does nobody harm."""
    now, before = last.get(change.key, {}), scene.before.get(change.key, {})
    if not _is_old_tables(scene, change) or any(now.get(each) for each in _FILLING):
        return
    lost = any(change.fields.get(each, (None, None))[0] for each in _FILLING)
    required = lost and now.get("not_null") == "yes"
    if not required and not (now.get("not_null") and not before.get("not_null") and scene.before):
        return
    yield story.finding(
        scene,
        "CM036",
        Severity.WARNING if required else Severity.NOTE,
        change.key.identity,
        "inserts that leave the column out fail from now on (23502)",
        relation=scene.live_relation(change.owner),
    )
