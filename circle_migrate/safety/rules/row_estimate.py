"""Estimate how many rows of a table a statement writes, by its text and the live planner."""

import re
from collections.abc import Collection
from enum import StrEnum

from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import IDENTIFIER
from circle_migrate.postgres.sql_text import compile_pattern, without_comments_and_literals
from circle_migrate.safety.rules.context import CatalogState, StatementContext
from circle_migrate.safety.trace.record import Task, Work

WRITING = frozenset({Task.UPDATE, Task.DELETE, Task.INSERT})
_LARGE_PART = 0.3
_LIMIT = compile_pattern(r"\b(?:LIMIT|FETCH\s+FIRST)\b")
_JOINS_VALUES = compile_pattern(r"\b(?:USING|FROM)\s*\(\s*VALUES\b")
_BY_SOURCE = compile_pattern(r"\bBY\s+SOURCE\b")
_RANGE = compile_pattern(r"[<>]|\b(?:OR|LIKE|NOT|BETWEEN)\b")
_OR_SELECT = compile_pattern(r"\b(?:OR|SELECT)\b")
_OR = compile_pattern(r"\bOR\b")
_AND = compile_pattern(r"\bAND\b")
_BETWEEN = compile_pattern(r"(\bBETWEEN\s+\S+\s+)AND\b")
_WHERE = compile_pattern(r"\bWHERE\b")
_VALUE = r"(?:-?[\d.]+|''|\$\d+)(?:\s*::\s*[\w\s]+)?"
_KEY_CONDITION = compile_pattern(
    rf"\(*\s*(?:{IDENTIFIER}\s*\.\s*)?(?P<column>{IDENTIFIER})\s*"
    rf"(?:=\s*(?:{_VALUE}|ANY\s*\(\s*\$\d+[^)]*\))|IN\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
    rf"|BETWEEN\s+(?P<first>{_VALUE})\s+TO\s+(?P<last>{_VALUE}))\s*\)*\s*;?\s*"
)
_KEY = compile_pattern(r'(?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?) \((?P<column>"[^"]+"|[^",()]+)\)')
_UNIQUE_INDEX = compile_pattern(r'CREATE UNIQUE INDEX .*? USING btree \((?P<column>"[^"]+"|[^",() ]+)\)')
_ASSUMED_KEYS = frozenset({"id"})
"""Columns that count as unique if the catalog is unknown."""


class RowEstimate(StrEnum):
    """Which part of a table is written; MANY and PART are of the planner, the others of the text."""

    ALL = "every row"
    MANY = "a large part of the rows"
    UNKNOWN = "an unknown number of rows"
    SOME = "rows that meet a condition"
    PART = "a small part of the rows"
    BATCH = "a batch of rows"
    FEW = "single rows"


def estimate_rows(context: StatementContext, work: Work) -> RowEstimate:
    """Return which part of a relation is written; the planner's estimate decides on a condition."""
    database, sql = context.statement.database, work.sql or context.statement.sql
    limits = context.plan.evidence.thresholds.of(database, work.relation)
    by_text = _estimate_by_text(sql, _unique_columns(context.before, work.relation), limits.rows)
    batch = by_text is RowEstimate.BATCH and work.task is not Task.DELETE
    repeated = work.uncounted or (work.by_row and not _writes_few_rows(context))
    if repeated and by_text is not RowEstimate.ALL and not batch:
        return RowEstimate.UNKNOWN
    known = context.plan.evidence.expected_rows
    # A nested write may use what only the whole statement defines.
    expected = known.get((database, sql), known.get((database, context.statement.sql)))
    size = context.size(work.relation)
    if by_text is not RowEstimate.SOME or expected is None or size is None or not size.rows:
        return by_text
    if expected < min(size.rows * _LARGE_PART, limits.rows):
        return RowEstimate.PART
    if expected <= 1:  # the planner never expects fewer
        return by_text
    # MERGE may do something else to a part of the rows that it joins.
    return RowEstimate.ALL if expected >= size.rows and sql[:5].upper() != "MERGE" else RowEstimate.MANY


def _writes_few_rows(context: StatementContext) -> bool:
    """Return whether a statement writes so few rows that their triggers do, too."""
    own = (work for work in context.statement.work if work.task in WRITING and not work.by_row)
    return all(estimate_rows(context, work) in (RowEstimate.FEW, RowEstimate.PART) for work in own)


def _unique_columns(catalog: CatalogState, relation: str) -> frozenset[str]:
    """Return the columns of a relation that are a key or unique index alone."""
    if not catalog:
        return _ASSUMED_KEYS
    owners = {str(ObjectKey(kind, relation)) for kind in ("table", "materialized view")}
    patterns = {"constraint": _KEY, "index": _UNIQUE_INDEX}
    matches = (
        patterns[key.kind].fullmatch(fields.get("definition") or "")
        for key, fields in catalog.items()
        if key.kind in patterns and fields.get("of") in owners
    )
    return frozenset(match["column"].strip('"').lower() for match in matches if match)


def _estimate_by_text(sql: str, unique: Collection[str], large: int) -> RowEstimate:
    """Estimate by the text; `large` is the number of rows from which a table is large."""
    text = without_comments_and_literals(sql)
    where = _WHERE.search(_outside_parentheses(text))
    condition = text[where.end() :] if where else None
    if _LIMIT.search(text if text[:4].upper() == "WITH" else condition or ""):
        return RowEstimate.BATCH
    verb = text[:6].upper()
    if _JOINS_VALUES.search(text) and _is_bounded_join(verb, text, condition):
        return RowEstimate.FEW
    if condition is None:
        # DO blocks, functions, joins and parentheses may have conditions that are not read here.
        every_row = verb in ("UPDATE", "DELETE") or (verb == "INSERT" and not _WHERE.search(text))
        return RowEstimate.ALL if every_row else RowEstimate.SOME
    terms = _AND.split(_BETWEEN.sub(r"\1TO", condition).partition("RETURNING")[0])
    matches = filter(None, map(_KEY_CONDITION.fullmatch, terms))
    keys = (match for match in matches if match["column"].strip('"').lower() in unique)
    by_key = any(_is_short(match, large) for match in keys)
    few = by_key and not _OR_SELECT.search(terms[0]) and not _OR.search(_outside_parentheses(condition))
    return RowEstimate.FEW if few else RowEstimate.SOME


def _is_bounded_join(verb: str, text: str, condition: str | None) -> bool:
    """Return whether a statement that joins a list of VALUES writes no more rows than the list has."""
    if verb in ("INSERT", "MERGE "):
        return not _BY_SOURCE.search(text)
    return condition is not None and "=" in condition and not _RANGE.search(condition)


def _is_short(match: re.Match[str], large: int) -> bool:
    """Return whether a condition on a key is no long range; a range of parameters counts as short."""
    first, last = match["first"], match["last"]
    if first is None or "$" in first + last:
        return True
    try:
        return abs(float(last) - float(first)) < large
    except ValueError:
        return False


def _outside_parentheses(text: str) -> str:
    """Return the text with blanks for what is in parentheses."""
    depth, letters = 0, []
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        letters.append(letter if depth == 0 else " ")
    return "".join(letters)
