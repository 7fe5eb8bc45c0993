"""How many rows of a table a statement writes, as far as its text and the live planner tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum

from circle_migrate.core.catalog import Key
from circle_migrate.core.traces import Task
from circle_migrate.core.verdicts.names import code, matcher
from circle_migrate.core.verdicts.story import Scene, Story, World

WRITING = frozenset({Task.UPDATE, Task.DELETE, Task.INSERT})
_LARGE_PART = 0.3
_WHERE = matcher(r"\bWHERE\b(?P<condition>.*)")
_LIMIT = matcher(r"\b(?:LIMIT|FETCH\s+FIRST)\b")
_GIVEN = matcher(r"\b(?:USING|FROM)\s*\(\s*VALUES\b")
_SEVERAL = matcher(r"\b(?:OR|SELECT)\b")
_AND = matcher(r"\bAND\b")
_BETWEEN = matcher(r"(\bBETWEEN\s+\S+\s+)AND\b")
_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_VALUE = r"(?:-?[\d.]+|''|\$\d+)(?:\s*::\s*[\w\s]+)?"
_ONE = matcher(
    rf"\(*\s*(?:{_NAME}\s*\.\s*)?(?P<column>{_NAME})\s*"
    rf"(?:=\s*(?:{_VALUE}|ANY\s*\(\s*\$\d+[^)]*\))|IN\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
    rf"|BETWEEN\s+{_VALUE}\s+TO\s+{_VALUE})\s*\)*\s*;?\s*"
)
_KEY = matcher(r'(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) \((?P<column>"[^"]+"|[^",()]+)\)')
_UNIQUE_INDEX = matcher(r'CREATE UNIQUE INDEX .*? USING btree \((?P<column>"[^"]+"|[^",() ]+)\)')
_UNLOOKED_UP = frozenset({"id"})
"""Columns taken for keys where there is no catalogue to look into."""


class Reach(StrEnum):
    """How much of a table is written: nearly all, nobody knows, a batch, or single rows by their key."""

    ALL = "every row"
    SOME = "rows that meet a condition"
    BATCH = "a batch of rows"
    FEW = "single rows"


def reach(story: Story, scene: Scene, relation: str) -> Reach:
    """How much of a relation a statement writes; of a condition, the planner says what it expects."""
    told = _by_text(scene.statement.sql, keys(scene.before, relation))
    expected = story.evidence.expected_rows.get(scene.place)
    size = story.size(scene, relation)
    if told is not Reach.SOME or expected is None or size is None or not size.rows:
        return told
    limits = story.sizes.thresholds.of(scene.statement.database, relation)
    return Reach.FEW if expected < min(size.rows * _LARGE_PART, limits.rows) else Reach.ALL


def keys(world: World, relation: str) -> frozenset[str]:
    """The columns of a relation that have no value twice."""
    if not world:
        return _UNLOOKED_UP
    owners = {str(Key(kind, relation)) for kind in ("table", "materialized view")}
    return frozenset(_keys(world, owners))


def _keys(world: World, owners: Collection[str]) -> Iterator[str]:
    for key, fields in world.items():
        if key.kind in ("constraint", "index") and fields.get("of") in owners:
            pattern = _KEY if key.kind == "constraint" else _UNIQUE_INDEX
            match = pattern.match(fields.get("definition") or "")
            if match is not None and match.end() == len(fields.get("definition") or ""):
                yield match["column"].strip('"').lower()


def _by_text(sql: str, unique: Collection[str]) -> Reach:
    text = code(sql)
    if _LIMIT.search(text):
        return Reach.BATCH
    if _GIVEN.search(text):
        return Reach.FEW
    where = _WHERE.search(text)
    if where is None:
        # What DO and functions hide cannot be read here.
        return Reach.ALL if text[:6].upper() in ("UPDATE", "DELETE", "INSERT", "MERGE ") else Reach.SOME
    found = where["condition"]
    parts = _AND.split(_BETWEEN.sub(r"\1TO", found).partition("RETURNING")[0])
    alone = not _SEVERAL.search(parts[0])
    by_key = (_ONE.fullmatch(each) for each in parts)
    if alone and any(each and each["column"].strip('"').lower() in unique for each in by_key):
        return Reach.FEW if not _has_alternatives(found) else Reach.SOME
    return Reach.SOME


def _has_alternatives(condition: str) -> bool:
    """Whether a condition has an OR outside of brackets."""
    depth, outside = 0, []
    for letter in condition:
        depth += (letter == "(") - (letter == ")")
        outside.append(letter if depth == 0 else " ")
    return matcher(r"\bOR\b").search("".join(outside)) is not None
