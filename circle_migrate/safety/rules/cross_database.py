"""What steps of one database mean for another one."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.config.relation import Column
from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import matcher, own_name
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.timeline import STORING, StatementContext, Timeline

_SECRET = matcher(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|salt|otp|totp|pin_code|private_key|api_key|access_key"
    r"|encryption_key|refresh_token|access_token|token|credentials?|password_hash|hashed_\w+|\w+_hash)(?:$|_hash$)"
)


def check_cross_database(story: Timeline) -> Iterator[HazardFinding]:
    """Yield findings about two databases."""
    for scene in story.scenes:
        if scene.statement.error is None:
            yield from _moved(story, scene)
            yield from _secret(story, scene)
            yield from _shared(story, scene)


def _moved(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """What is dropped here, and comes to the other database in a segment that is committed later."""
    for change in scene.dropped:
        if change.key.kind not in ("column", "table") or (change.owner and change.owner in scene.gone):
            continue
        for later in story.scenes:
            said = later.statement
            if said.database == scene.statement.database or said.segment <= scene.statement.segment:
                continue
            if _brings(later, change):
                yield story.finding(
                    scene,
                    "CM070",
                    Severity.WARNING,
                    change.key.identity,
                    f"{said.database} gets it in segment {said.segment}, after segment"
                    f" {scene.statement.segment} was committed here",
                )
                break


def _brings(scene: StatementContext, change: Change) -> bool:
    name = own_name(change.key.identity)
    return any(
        each.key.kind == change.key.kind and own_name(each.key.identity) == name for each in scene.added
    )


def _secret(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    home = story.evidence.secrets
    if home is None or scene.statement.database == home:
        return
    for change in scene.added:
        stored = change.owner is not None and change.owner.kind in STORING
        if change.key.kind == "column" and stored and _SECRET.search(own_name(change.key.identity)):
            yield story.finding(
                scene, "CM071", Severity.WARNING, change.key.identity, f"secrets belong to {home}"
            )


def _shared(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """A key of two databases that is of two types when the plan has run."""
    for change in scene.changes(Op.CHANGED, "column"):
        if "type" not in change.fields:
            continue
        for relation in story.evidence.relations:
            sides = [Column.parse(text) for text in (relation.left, relation.right)]
            own = [column for column in sides if _is(column, scene.statement.database, change.key)]
            others = [column for column in sides if column not in own]
            for other in others if own else ():
                type_ = _type(story, other)
                if type_ != change.fields["type"][1]:
                    yield story.finding(
                        scene,
                        "CM072",
                        Severity.WARNING,
                        change.key.identity,
                        f"{other} is {type_ or 'of a type that is not known'}, and holds the same keys",
                    )


def _is(column: Column, database: str, key: ObjectKey) -> bool:
    wanted = column.within if column.schema else f".{column.within}"
    return column.database == database and f".{key.identity}".endswith(wanted)


def _type(story: Timeline, column: Column) -> str | None:
    world = story.last.get(column.database, {})
    return next(
        (
            fields.get("type")
            for key, fields in world.items()
            if key.kind == "column" and _is(column, column.database, key)
        ),
        None,
    )
