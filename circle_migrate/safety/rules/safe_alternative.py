"""Write revisions that do what a statement does without its hazard, from the objects that it creates."""

import json
import re
from collections.abc import Callable, Mapping

from circle_migrate.core.redaction import redact_statement
from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import quote_if_needed
from circle_migrate.postgres.sql_text import compile_pattern, own_name
from circle_migrate.safety.hazards.hazard import ExampleRevision, render_revisions
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.context import StatementContext

_INDEX = compile_pattern(r"CREATE (?:UNIQUE )?INDEX ")
_KEY = compile_pattern(
    r"(?P<kind>PRIMARY KEY|UNIQUE)(?P<nulls> NULLS NOT DISTINCT)? (?P<columns>\([^()]*\))"
    r"(?P<include> INCLUDE \([^()]*\))?(?P<rest> .*)?"
)
_COLON = re.compile(r"(?<!:):(?=\w)")
_LONGEST_NAME = 63
_NOT_IN_TRANSACTION, _NEW_ENUM_VALUE = ("25001", "2D000"), "55P04"

Revisions = tuple[ExampleRevision, ...]


def safe_alternative(context: StatementContext, finding: HazardFinding) -> str | None:
    """Return revisions that replace a statement; None for the hazard's example, empty if nothing can help."""
    if finding.rule == "CM021" and finding.subject not in (*_NOT_IN_TRANSACTION, _NEW_ENUM_VALUE):
        return ""
    writer = _ALTERNATIVES.get(finding.rule)
    revisions = None if writer is None else writer(context, finding)
    return None if revisions is None else render_revisions(revisions)


def _not_null_by_check(context: StatementContext, finding: HazardFinding) -> Revisions | None:
    """Set NOT NULL after a validated CHECK constraint, so that it scans no rows."""
    changes = context.changes(Op.CHANGED, "column")
    columns = [change for change in changes if change.new("not_null") == "yes" and change.owner is not None]
    if len(columns) != 1 or columns[0].owner is None:
        return None
    table, column = columns[0].owner.identity, _name_in_table(columns[0])
    check = f"ck_{own_name(table)}_{own_name(columns[0].key.identity)}_not_null"
    check = quote_if_needed(check[:_LONGEST_NAME])
    backfill = (f"# first: set {column} in batches",) if finding.rule == "CM020" else ()
    return _revisions(
        (
            *backfill,
            _execute(f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"),
        ),
        (_execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}"),),
        (
            _execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"),
            _execute(f"ALTER TABLE {table} DROP CONSTRAINT {check}"),
        ),
    )


def _validated(context: StatementContext, finding: HazardFinding) -> Revisions | None:
    """Add a constraint as NOT VALID, and validate it in the next revision."""
    constraint = _only_constraint(context, "check", "foreign key")
    if constraint is None:
        return None
    table, name, definition = constraint
    violated = finding.rule in ("CM024", "CM025")
    fix = ("# first: change or delete the rows that violate it",) if violated else ()
    return _revisions(
        (*fix, _execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")),
        (_execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"),),
    )


def _concurrent_index(context: StatementContext, _: HazardFinding) -> Revisions | None:
    """Build an index concurrently, after dropping one that an interrupted build left."""
    indexes = [change for change in context.added if change.key.kind == "index"]
    definition = indexes[0].new("definition") if len(indexes) == 1 else ""
    if not _INDEX.match(definition):
        return None
    name = indexes[0].key.identity
    drop = _execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    build = _execute(definition.replace("INDEX ", "INDEX CONCURRENTLY ", 1))
    return (ExampleRevision(_autocommit_block(drop, build), _autocommit_block(drop), transactional=False),)


def _key_using_index(context: StatementContext, _: HazardFinding) -> Revisions | None:
    """Build the index of a key concurrently, and add the key with it in the next revision."""
    constraint = _only_constraint(context, "unique", "primary key")
    table, name, definition = constraint or ("", "", "")
    match = _KEY.fullmatch(definition)
    if match is None:
        return None
    schema = table.rpartition(".")[0]
    index = f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} {match['columns']}"
    index += (match["include"] or "") + (match["nulls"] or "")
    drop = _execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}")
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {match['kind']} USING INDEX {name}"
    return (
        ExampleRevision(_autocommit_block(drop, _execute(index)), transactional=False),
        ExampleRevision(_execute(add + (match["rest"] or ""))),
    )


def _own_transaction(context: StatementContext, finding: HazardFinding) -> Revisions | None:
    """Run the statement in its own transaction; not possible with parameters, whose values are unknown."""
    sql = redact_statement(context.statement.sql.strip().rstrip(";"))
    failed = finding.rule == "CM021"
    impossible = finding.subject not in _NOT_IN_TRANSACTION if failed else "$" in sql
    return None if impossible else (ExampleRevision(_execute(sql), transactional=False),)


def _keep_column(_: StatementContext, finding: HazardFinding) -> Revisions:
    comment = "unused; to be dropped by a later release"
    return (ExampleRevision(_execute(f"COMMENT ON COLUMN {finding.subject} IS '{comment}'")),)


_ALTERNATIVES: Mapping[str, Callable[[StatementContext, HazardFinding], Revisions | None]] = {
    "CM002": _own_transaction,
    "CM007": lambda context, finding: _not_null_by_check(context, finding) or _validated(context, finding),
    "CM008": _concurrent_index,
    "CM009": _validated,
    "CM010": _keep_column,
    "CM020": _not_null_by_check,
    "CM021": _own_transaction,
    "CM024": _validated,
    "CM025": _validated,
    "CM041": _own_transaction,
    "CM062": _key_using_index,
}


def _only_constraint(context: StatementContext, *types: str) -> tuple[str, str, str] | None:
    """Return table, name and definition of the only new object, a constraint of an unpartitioned table."""
    # PostgreSQL 18 has a constraint for each NOT NULL.
    created = [
        change
        for change in context.added
        if change.key.kind != "index"
        and not (change.key.kind == "constraint" and change.new("type") == "not null")
    ]
    change = created[0] if len(created) == 1 else None
    if change is None or change.key.kind != "constraint" or change.new("type") not in types:
        return None
    if change.owner is None or context.before.get(change.owner, {}).get("partition_key"):
        return None
    return change.owner.identity, _name_in_table(change), change.new("definition")


def _revisions(*bodies: tuple[str, ...]) -> Revisions:
    """Return revisions of which the second, which scans rows, runs in its own transaction."""
    return tuple(
        ExampleRevision("\n".join(lines), transactional=number != 2) for number, lines in enumerate(bodies, 1)
    )


def _execute(sql: str) -> str:
    """Return a call of op.execute(), with `:word` escaped, which Alembic reads as a parameter."""
    escaped = _COLON.sub(r"\:", sql)
    return f"op.execute({json.dumps(escaped, ensure_ascii=False)})"


def _autocommit_block(*lines: str) -> str:
    return "\n".join(("with op.get_context().autocommit_block():", *(f"    {line}" for line in lines)))


def _name_in_table(change: Change) -> str:
    """Return the name of a part of a table without the table's name, as PostgreSQL prints it."""
    return change.key.identity.removeprefix(f"{change.owner.identity}." if change.owner else "")
