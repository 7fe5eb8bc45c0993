"""Hazards of new objects: unindexed keys, types, long names, and statements that cannot be run twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.sql_text import code, matcher
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.timeline import CatalogState, StatementContext, Timeline

_FOREIGN_KEY = matcher(
    r"FOREIGN KEY \((?P<columns>.*?)\) REFERENCES (?P<table>\S+?)\((?P<referred>.*?)\)(?: |$).*"
)
_INDEXED = matcher(
    r"(?:CREATE .*? USING btree |PRIMARY KEY |UNIQUE (?:NULLS NOT DISTINCT )?)\((?P<columns>.*?)\)"
)
_NAME = re.compile(r'"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*)')
_LONGEST_NAME = 63
"""Bytes that PostgreSQL keeps of a name."""

_NO_TYPE_TO_USE = ("character(", "timestamp without time zone", "timestamp(")
_IF_NOT_EXISTS = matcher(
    r"\bCREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?IF\s+NOT\s+EXISTS\s+(?P<name>[\w$\".]+)"
)
_REPEATABLE = matcher(
    r"\bIF\s+(?:NOT\s+)?EXISTS\b|\bOR\s+REPLACE\b|^\s*(?:UPDATE|DELETE|MERGE|SELECT|WITH|SET|RESET|VACUUM|ANALYZE"
    r"|REINDEX|CLUSTER|COMMENT|GRANT|REVOKE|REFRESH|TRUNCATE|LOCK)\b|\bVALIDATE\s+CONSTRAINT\b"
    r"|\bALTER\s+(?:COLUMN\s+)?\S+\s+(?:SET|DROP)\s+(?:DEFAULT|NOT\s+NULL|STATISTICS|STORAGE)\b"
    r"|\bALTER\s+INDEX\b.*\bATTACH\s+PARTITION\b"
)


def check_new_objects(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about what a statement makes."""
    if scene.statement.error is not None:
        return
    last = story.last.get(scene.statement.database, scene.after)
    for change in scene.added:
        if change.key.kind == "constraint" and change.fields.get("type", ("", ""))[1] == "foreign key":
            yield from _foreign_key(story, scene, change, last)
        elif change.key.kind == "column":
            yield from _type(story, scene, change)
    yield from _invalid(story, scene)
    yield from _long_names(story, scene)


def _foreign_key(
    story: Timeline, scene: StatementContext, change: Change, last: CatalogState
) -> Iterator[HazardFinding]:
    match = _FOREIGN_KEY.match(change.fields["definition"][1] or "")
    owner = change.owner
    if match is None or owner is None or not story.evidence.traced:
        return
    columns, referred = (_listed(match[name]) for name in ("columns", "referred"))
    parent = (
        match["table"] if "." in match["table"] else f"{owner.identity.partition('.')[0]}.{match['table']}"
    )
    known = bool(story.first.get(scene.statement.database)) or not scene.existed(owner)
    if known and not _is_indexed(last, owner, columns):
        yield story.finding(
            scene,
            "CM052",
            Severity.NOTE,
            change.key.identity,
            f"no index of {owner.identity} begins with {', '.join(columns)}",
            relation=scene.live_relation(owner),
        )
    for column, other in zip(columns, referred, strict=True):
        types = [
            last.get(ObjectKey("column", name), {}).get("type")
            for name in (f"{owner.identity}.{column}", f"{parent}.{other}")
        ]
        if all(types) and types[0] != types[1]:
            yield story.finding(
                scene,
                "CM053",
                Severity.NOTE,
                change.key.identity,
                f"{column} is {types[0]}, and {parent}.{other} is {types[1]}",
                relation=scene.live_relation(owner),
            )


def _is_indexed(world: CatalogState, table: ObjectKey, columns: Sequence[str]) -> bool:
    for key, fields in world.items():
        if key.kind in ("index", "constraint") and fields.get("of") == str(table):
            match = _INDEXED.match(fields.get("definition") or "")
            if match and set(_listed(match["columns"])[: len(columns)]) == set(columns):
                return True
    return False


def _listed(columns: str) -> list[str]:
    return [column.strip() for column in columns.split(",")]


def _type(story: Timeline, scene: StatementContext, change: Change) -> Iterator[HazardFinding]:
    type_ = change.fields.get("type", ("", ""))[1] or ""
    default = change.fields.get("default", (None, None))[1] or ""
    serial = default.startswith("nextval(") and any(
        each.fields.get("owned_by", ("", ""))[1] == change.key.identity
        for each in scene.changes(Op.ADDED, "sequence")
    )
    local = type_.startswith("timestamp(") and not type_.endswith("without time zone")
    if serial or (type_.startswith(_NO_TYPE_TO_USE) and not local):
        what = "serial" if serial else type_
        yield story.finding(scene, "CM090", Severity.NOTE, change.key.identity, f"the column is {what}")


def _invalid(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """An index that is there already, and does not work."""
    match = _IF_NOT_EXISTS.search(scene.statement.sql)
    if match is None:
        return
    name = match["name"].rpartition(".")[2].strip('"')
    for invalid_index in story.evidence.invalid_indexes.get(scene.statement.database, ()):
        dropped = any(
            earlier.place < scene.place and ObjectKey("index", invalid_index.index) in earlier.gone
            for earlier in story.scenes
        )
        if invalid_index.index.rpartition(".")[2].strip('"') == name and not dropped:
            yield story.finding(
                scene,
                "CM022",
                Severity.WARNING,
                invalid_index.index,
                f"{invalid_index.index} is there and INVALID: nothing is built",
                relation=invalid_index.relation,
                confidence=Confidence.LIVE,
            )


def _long_names(story: Timeline, scene: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each name that PostgreSQL truncates; the catalogue shows only what it keeps."""
    for match in _NAME.finditer(code(scene.statement.sql)):
        name = (match["quoted"] or match["plain"]).replace('""', '"')
        length = len(name.encode())
        if length > _LONGEST_NAME:
            yield story.finding(
                scene,
                "CM047",
                Severity.WARNING,
                name,
                f"the name has {length} bytes, of which PostgreSQL keeps {_LONGEST_NAME}",
                confidence=Confidence.STATIC,
            )


def check_commits(story: Timeline) -> Iterator[HazardFinding]:
    """Statements that are committed before the rest of their revision, and cannot be run twice."""
    for scene, following in zip(story.scenes, story.scenes[1:], strict=False):
        said, then = scene.statement, following.statement
        alone = not said.transactional and not said.repeatable and said.error is None
        same = (said.database, said.revision) == (then.database, then.revision)
        if alone and same and said.changes and not _REPEATABLE.search(said.sql):
            yield story.finding(
                scene,
                "CM040",
                Severity.WARNING,
                str(said.changes[0].key),
                "it is committed before the rest of the revision, and fails when that has to be run again",
            )
