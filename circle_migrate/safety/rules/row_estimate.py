"""How many rows of a table a statement writes, as far as its text and the live planner tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from enum import StrEnum

from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.sql_text import code, matcher
from circle_migrate.safety.rules.timeline import CatalogState, StatementContext, Timeline
from circle_migrate.safety.trace.record import Task

WRITING = frozenset({Task.UPDATE, Task.DELETE, Task.INSERT})
_LARGE_PART = 0.3
_LIMIT = matcher(r"\b(?:LIMIT|FETCH\s+FIRST)\b")
_GIVEN = matcher(r"\b(?:USING|FROM)\s*\(\s*VALUES\b")
_UNGIVEN = matcher(r"\bBY\s+SOURCE\b")
_RANGE = matcher(r"[<>]|\b(?:OR|LIKE|NOT|BETWEEN)\b")
_SEVERAL = matcher(r"\b(?:OR|SELECT)\b")
_AND = matcher(r"\bAND\b")
_BETWEEN = matcher(r"(\bBETWEEN\s+\S+\s+)AND\b")
_WORD = matcher(r"[()]|\bWHERE\b")
_INNER_WHERE = matcher(r"\bWHERE\b")
_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_VALUE = r"(?:-?[\d.]+|''|\$\d+)(?:\s*::\s*[\w\s]+)?"
_ONE = matcher(
    rf"\(*\s*(?:{_NAME}\s*\.\s*)?(?P<column>{_NAME})\s*"
    rf"(?:=\s*(?:{_VALUE}|ANY\s*\(\s*\$\d+[^)]*\))|IN\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
    rf"|BETWEEN\s+(?P<first>{_VALUE})\s+TO\s+(?P<last>{_VALUE}))\s*\)*\s*;?\s*"
)
_KEY = matcher(r'(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) \((?P<column>"[^"]+"|[^",()]+)\)')
_UNIQUE_INDEX = matcher(r'CREATE UNIQUE INDEX .*? USING btree \((?P<column>"[^"]+"|[^",() ]+)\)')
_UNLOOKED_UP = frozenset({"id"})
"""Columns taken for keys where there is no catalogue to look into."""


class RowEstimate(StrEnum):
    """How much of a table is written: nearly all, nobody knows, a batch, or few of its rows.

    PART is what the planner thinks few; of FEW the text tells it, by their key.
    """

    ALL = "every row"
    SOME = "rows that meet a condition"
    PART = "a small part of the rows"
    BATCH = "a batch of rows"
    FEW = "single rows"


def estimate_rows(story: Timeline, scene: StatementContext, relation: str) -> RowEstimate:
    """How much of a relation a statement writes; of a condition, the planner says what it expects."""
    limits = story.sizes.thresholds.of(scene.statement.database, relation)
    told = _by_text(scene.statement.sql, keys(scene.before, relation), limits.rows)
    expected = story.evidence.expected_rows.get(scene.place)
    size = story.size(scene, relation)
    if told is not RowEstimate.SOME or expected is None or size is None or not size.rows:
        return told
    return RowEstimate.PART if expected < min(size.rows * _LARGE_PART, limits.rows) else RowEstimate.ALL


def keys(world: CatalogState, relation: str) -> frozenset[str]:
    """The columns of a relation that have no value twice."""
    if not world:
        return _UNLOOKED_UP
    owners = {str(ObjectKey(kind, relation)) for kind in ("table", "materialized view")}
    return frozenset(_keys(world, owners))


def _keys(world: CatalogState, owners: Collection[str]) -> Iterator[str]:
    for key, fields in world.items():
        if key.kind in ("constraint", "index") and fields.get("of") in owners:
            pattern = _KEY if key.kind == "constraint" else _UNIQUE_INDEX
            match = pattern.match(fields.get("definition") or "")
            if match is not None and match.end() == len(fields.get("definition") or ""):
                yield match["column"].strip('"').lower()


def _by_text(sql: str, unique: Collection[str], many: int) -> RowEstimate:
    text = code(sql)
    found = _condition(text)
    if _LIMIT.search(text if text[:4].upper() == "WITH" else found or ""):
        return RowEstimate.BATCH
    verb = text[:6].upper()
    if _GIVEN.search(text) and _joins(verb, text, found):
        return RowEstimate.FEW
    if found is None:
        # What DO, functions, joins and brackets hide cannot be read here.
        everything = verb in ("UPDATE", "DELETE") or (verb == "INSERT" and not _INNER_WHERE.search(text))
        return RowEstimate.ALL if everything else RowEstimate.SOME
    parts = _AND.split(_BETWEEN.sub(r"\1TO", found).partition("RETURNING")[0])
    alone = not _SEVERAL.search(parts[0])
    by_key = [
        match
        for match in map(_ONE.fullmatch, parts)
        if match and match["column"].strip('"').lower() in unique and _is_short(match, many)
    ]
    return RowEstimate.FEW if alone and by_key and not _has_alternatives(found) else RowEstimate.SOME


def _condition(text: str) -> str | None:
    """What follows the WHERE of the statement itself, and not of a query within brackets."""
    depth = 0
    for match in _WORD.finditer(text):
        if match[0] in "()":
            depth += 1 if match[0] == "(" else -1
        elif depth == 0:
            return text[match.end() :]
    return None


def _joins(verb: str, text: str, condition: str | None) -> bool:
    """Whether rows that the statement lists lead to no more than as many of the table."""
    if verb in ("INSERT", "MERGE "):
        return not _UNGIVEN.search(text)
    return condition is not None and "=" in condition and not _RANGE.search(condition)


def _is_short(match: re.Match[str], many: int) -> bool:
    """Whether a range of keys is a short one; one between parameters is taken for a batch."""
    first, last = match["first"], match["last"]
    if first is None or "$" in first + last:
        return True
    try:
        return abs(float(last) - float(first)) < many
    except ValueError:
        return False


def _has_alternatives(condition: str) -> bool:
    """Whether a condition has an OR outside of brackets."""
    depth, outside = 0, []
    for letter in condition:
        depth += (letter == "(") - (letter == ")")
        outside.append(letter if depth == 0 else " ")
    return matcher(r"\bOR\b").search("".join(outside)) is not None
