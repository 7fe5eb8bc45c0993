"""Check new constraints, columns, indexes and names, stored values, and whether a revision can run again."""

import re
from collections.abc import Iterator, Sequence

from circle_migrate.core.findings import Severity
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.identifier import IDENTIFIER, unquote
from circle_migrate.postgres.sql_text import compile_pattern, own_name, without_comments_and_literals
from circle_migrate.safety.live_database.record import STORING
from circle_migrate.safety.result import Confidence, HazardFinding
from circle_migrate.safety.rules.context import CatalogState, PlanContext, StatementContext
from circle_migrate.safety.trace.record import Task

_FOREIGN_KEY = compile_pattern(
    r"FOREIGN KEY \((?P<columns>.*?)\) REFERENCES (?P<table>\S+?)\((?P<referred>.*?)\)(?: |$).*"
)
_INDEXED = compile_pattern(
    r"(?:CREATE .*? USING btree |PRIMARY KEY |UNIQUE (?:NULLS NOT DISTINCT )?)\((?P<columns>.*?)\)"
)
_LONGEST_NAME = 63
"""Bytes; PostgreSQL truncates longer names."""

_DISCOURAGED_TYPES = ("character(", "timestamp without time zone", "timestamp(")
_IF_NOT_EXISTS = compile_pattern(
    r"\bCREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?IF\s+NOT\s+EXISTS\s+(?P<name>[\w$\".]+)"
)
_REPEATABLE = compile_pattern(
    r"\bIF\s+(?:NOT\s+)?EXISTS\b|\bOR\s+REPLACE\b|^\s*(?:UPDATE|DELETE|MERGE|SELECT|WITH|SET|RESET|VACUUM|ANALYZE"
    r"|REINDEX|CLUSTER|COMMENT|GRANT|REVOKE|REFRESH|TRUNCATE|LOCK)\b|\bVALIDATE\s+CONSTRAINT\b"
    r"|\bALTER\s+(?:COLUMN\s+)?\S+\s+(?:SET|DROP)\s+(?:DEFAULT|NOT\s+NULL|STATISTICS|STORAGE)\b"
    r"|\bALTER\s+INDEX\b.*\bATTACH\s+PARTITION\b"
)

_EXPRESSION_FIELDS = {"index": "definition", "constraint": "definition", "column": "generated"}
"""For each kind of object with computed values, the field that has the expression."""


def check_new_objects(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about objects that a statement creates."""
    for change in context.added:
        if change.key.kind == "constraint" and change.new("type") == "foreign key":
            yield from _foreign_key(context, change)
        elif change.key.kind == "column":
            yield from _column_type(context, change)
    yield from _invalid_index(context)
    yield from _long_names(context)


def _foreign_key(context: StatementContext, change: Change) -> Iterator[HazardFinding]:
    match = _FOREIGN_KEY.match(change.new("definition"))
    owner = change.owner
    if match is None or owner is None or not context.plan.evidence.traced:
        return
    columns, referred = (_split_columns(match[name]) for name in ("columns", "referred"))
    parent = (
        match["table"] if "." in match["table"] else f"{owner.identity.partition('.')[0]}.{match['table']}"
    )
    known = bool(context.first) or not context.existed(owner)
    if known and not _is_indexed(context.last, owner, columns):
        reason = f"no index of {owner.identity} begins with {', '.join(columns)}"
        yield context.finding("CM052", Severity.NOTE, change.key.identity, reason, relation=owner)
    for column, referred_column in zip(columns, referred, strict=True):
        types = [
            context.last.get(ObjectKey("column", name), {}).get("type")
            for name in (f"{owner.identity}.{column}", f"{parent}.{referred_column}")
        ]
        if all(types) and types[0] != types[1]:
            reason = f"{column} is {types[0]}, and {parent}.{referred_column} is {types[1]}"
            yield context.finding("CM053", Severity.NOTE, change.key.identity, reason, relation=owner)


def _is_indexed(catalog: CatalogState, table: ObjectKey, columns: Sequence[str]) -> bool:
    for key, fields in catalog.items():
        if key.kind in ("index", "constraint") and fields.get("of") == str(table):
            match = _INDEXED.match(fields.get("definition") or "")
            if match and set(_split_columns(match["columns"])[: len(columns)]) == set(columns):
                return True
    return False


def _split_columns(columns: str) -> list[str]:
    return [column.strip() for column in columns.split(",")]


def _column_type(context: StatementContext, change: Change) -> Iterator[HazardFinding]:
    type_ = change.new("type")
    serial = change.new("default").startswith("nextval(") and any(
        sequence.new("owned_by") == change.key.identity for sequence in context.changes(Op.ADDED, "sequence")
    )
    with_time_zone = type_.startswith("timestamp(") and not type_.endswith("without time zone")
    if serial or (type_.startswith(_DISCOURAGED_TYPES) and not with_time_zone):
        reason = f"the column is {'serial' if serial else type_}"
        yield context.finding("CM090", Severity.NOTE, change.key.identity, reason)


def _invalid_index(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding if IF NOT EXISTS skips an index because an invalid one has its name."""
    match = _IF_NOT_EXISTS.search(context.statement.sql)
    if match is None:
        return
    for relation, index in context.usage.invalid_indexes:
        key = ObjectKey("index", index)
        dropped = any(key in earlier.removed for earlier in context.plan.statements[: context.index])
        if own_name(index) == own_name(match["name"]) and not dropped:
            reason = f"{index} exists and is INVALID, so the statement does not build it"
            yield context.finding(
                "CM022", Severity.WARNING, index, reason, relation=relation, confidence=Confidence.LIVE
            )


def _long_names(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield a finding for each name that PostgreSQL truncates; the catalog has only the truncated name."""
    identifiers = re.findall(IDENTIFIER, without_comments_and_literals(context.statement.sql))
    for name in map(unquote, identifiers):
        length = len(name.encode())
        if length > _LONGEST_NAME:
            reason = f"the name has {length} bytes, of which PostgreSQL keeps {_LONGEST_NAME}"
            yield context.finding("CM047", Severity.WARNING, name, reason, confidence=Confidence.STATIC)


def check_commits(plan: PlanContext) -> Iterator[HazardFinding]:
    """Yield a finding for each statement that commits before its revision ends and cannot be repeated."""
    for context, following in zip(plan.statements, plan.statements[1:], strict=False):
        statement = context.statement
        committed = not statement.transactional and not statement.repeatable and statement.error is None
        same_revision = statement.qualified == following.statement.qualified
        if committed and same_revision and statement.changes and not _REPEATABLE.search(statement.sql):
            reason = "it commits before the rest of the revision, and fails if the revision is run again"
            yield context.finding("CM040", Severity.WARNING, str(statement.changes[0].key), reason)


def check_stored_expressions(context: StatementContext) -> Iterator[HazardFinding]:
    """Yield findings about replaced functions that indexes, constraints and generated columns call."""
    for change in context.changes(Op.CHANGED, "function"):
        if "definition" not in change.fields or not context.existed(change.key):
            continue
        for user, table in _users(context, change.key):
            if not (user.kind == "index" and _is_rebuilt(context, table)):
                reason = f"its values of existing rows come from the old {change.key.identity}"
                yield context.finding("CM039", Severity.WARNING, user.identity, reason, relation=table)


def _users(context: StatementContext, function: ObjectKey) -> Iterator[tuple[ObjectKey, ObjectKey]]:
    """Yield the objects from before the plan that store what a function returns, each with its table."""
    call = function.identity.partition("(")[0] + "("
    tables = {str(key): key for key in context.before if key.kind in STORING}
    for key, fields in context.before.items():
        table = tables.get(fields.get("of") or "")
        expression = fields.get(_EXPRESSION_FIELDS.get(key.kind, "")) or ""
        if table is not None and call in expression and context.existed(key):
            yield key, table


def _is_rebuilt(context: StatementContext, table: ObjectKey) -> bool:
    """Return whether a later statement builds indexes of the table."""
    return any(
        work.task is Task.INDEX_BUILD and work.relation == table.identity
        for later in context.plan.statements[context.index + 1 :]
        if later.statement.database == context.statement.database
        for work in later.statement.work
    )
