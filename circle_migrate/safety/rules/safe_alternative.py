"""The way around a hazard, for the statement itself: what it made, as PostgreSQL prints it, made safely."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op
from circle_migrate.postgres.identifier import quote_if_needed
from circle_migrate.postgres.sql_text import matcher, own_name
from circle_migrate.safety.hazards.hazard import ExampleRevision, render_revisions
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.timeline import StatementContext

_INDEX = matcher(r"CREATE (?:UNIQUE )?INDEX ")
_KEY = matcher(
    r"(?P<kind>PRIMARY KEY|UNIQUE)(?P<nulls> NULLS NOT DISTINCT)? (?P<columns>\([^()]*\))"
    r"(?P<include> INCLUDE \([^()]*\))?(?P<rest> .*)?"
)
_COLON = re.compile(r"(?<!:):(?=\w)")
_MOST_CHARACTERS = 63
_IN_NO_TRANSACTION, _NEW_LABEL = "25001", "55P04"

Revisions = tuple[ExampleRevision, ...]


def safe_alternative(scene: StatementContext, finding: HazardFinding) -> str | None:
    """Revisions for a statement, ready to paste; None where the hazard's own example has to do.

    Empty where there is none: what to do about a statement that fails depends on why it does.
    """
    if finding.rule == "CM021" and finding.subject not in (_IN_NO_TRANSACTION, _NEW_LABEL):
        return ""
    writer = _WRITERS.get(finding.rule)
    example_revisions = None if writer is None else writer(scene, finding)
    return None if example_revisions is None else render_revisions(example_revisions)


def _proved(scene: StatementContext, finding: HazardFinding) -> Revisions | None:
    """NOT NULL that a valid CHECK proves."""
    columns = [
        change
        for change in scene.changes(Op.CHANGED, "column")
        if change.fields.get("not_null", ("", None))[1] == "yes" and change.owner is not None
    ]
    if len(columns) != 1 or columns[0].owner is None:
        return None
    table, column = columns[0].owner.identity, _last(columns[0])
    check = f"ck_{own_name(table)}_{own_name(columns[0].key.identity)}_not_null"
    check = quote_if_needed(check[:_MOST_CHARACTERS])
    mended = (f"# first: give {column} a value, in batches",) if finding.rule == "CM020" else ()
    return _revisions(
        (_execute(f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"),),
        (*mended, _execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}")),
        (
            _execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"),
            _execute(f"ALTER TABLE {table} DROP CONSTRAINT {check}"),
        ),
    )


def _validated(scene: StatementContext, finding: HazardFinding) -> Revisions | None:
    """A constraint that looks at the rows when writes can pass."""
    made = _only_constraint(scene, "check", "foreign key")
    if made is None or made.owner is None or scene.before.get(made.owner, {}).get("partition_key"):
        return None
    table, name = made.owner.identity, _last(made)
    definition = str(made.fields["definition"][1])
    orphans = ("# first: mend or delete the rows that are in the way",) if finding.rule in _BROKEN else ()
    return _revisions(
        (_execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID"),),
        (*orphans, _execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")),
    )


_BROKEN = frozenset({"CM024", "CM025"})


def _checked(scene: StatementContext, finding: HazardFinding) -> Revisions | None:
    return _proved(scene, finding) or _validated(scene, finding)


def _indexed(scene: StatementContext, _: HazardFinding) -> Revisions | None:
    """An index that is built beside writes; one that a build which was cut off has left goes first."""
    made = [change for change in scene.added if change.key.kind == "index"]
    definition = str(made[0].fields["definition"][1]) if len(made) == 1 else ""
    if not _INDEX.match(definition):
        return None
    name = made[0].key.identity
    drop = _execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    build = _execute(definition.replace("INDEX ", "INDEX CONCURRENTLY ", 1))
    return (ExampleRevision(_outside(drop, build), _outside(drop), transactional=False),)


def _using_index(scene: StatementContext, _: HazardFinding) -> Revisions | None:
    """A key whose index is built first, beside writes."""
    made = _only_constraint(scene, "unique", "primary key")
    match = made and _KEY.fullmatch(str(made.fields["definition"][1]))
    if not made or not match or made.owner is None or scene.before.get(made.owner, {}).get("partition_key"):
        return None
    table, name = made.owner.identity, _last(made)
    schema = table.rpartition(".")[0]
    index = f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} {match['columns']}"
    index += (match["include"] or "") + (match["nulls"] or "")
    drop = _execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}")
    constraint = f"ALTER TABLE {table} ADD CONSTRAINT {name} {match['kind']} USING INDEX {name}"
    return (
        ExampleRevision(_outside(drop, _execute(index)), transactional=False),
        ExampleRevision(_execute(constraint + (match["rest"] or ""))),
    )


def _alone(scene: StatementContext, _: HazardFinding) -> Revisions | None:
    """The statement in a transaction of its own; its parameters are not known here."""
    sql = scene.statement.sql.strip().rstrip(";")
    return None if "$" in sql else (ExampleRevision(_execute(sql), transactional=False),)


def _without_transaction(scene: StatementContext, finding: HazardFinding) -> Revisions | None:
    if finding.subject != _IN_NO_TRANSACTION:
        return None
    sql = scene.statement.sql.strip().rstrip(";")
    return (ExampleRevision(_outside(_execute(sql)), transactional=False),)


def _kept(_: StatementContext, finding: HazardFinding) -> Revisions:
    remark = "unused; to be dropped by a later release"
    return (ExampleRevision(_execute(f"COMMENT ON COLUMN {finding.subject} IS '{remark}'")),)


_WRITERS: Mapping[str, Callable[[StatementContext, HazardFinding], Revisions | None]] = {
    "CM002": _alone,
    "CM007": _checked,
    "CM008": _indexed,
    "CM009": _validated,
    "CM010": _kept,
    "CM020": _proved,
    "CM021": _without_transaction,
    "CM024": _validated,
    "CM025": _validated,
    "CM041": _alone,
    "CM062": _using_index,
}


def _only_constraint(scene: StatementContext, *types: str) -> Change | None:
    """The constraint that is all a statement makes."""
    made = [change for change in scene.added if change.key.kind != "index" and not _is_not_null(change)]
    one = made[0] if len(made) == 1 and made[0].key.kind == "constraint" else None
    return one if one is not None and one.fields.get("type", ("", ""))[1] in types else None


def _is_not_null(change: Change) -> bool:
    """Whether it is what PostgreSQL 18 has of a column that is NOT NULL."""
    return change.key.kind == "constraint" and change.fields.get("type", ("", ""))[1] == "not null"


def _revisions(*bodies: tuple[str, ...]) -> Revisions:
    """Two or three revisions; the second one, which takes its time, in a transaction of its own."""
    return tuple(
        ExampleRevision("\n".join(lines), transactional=number != 2) for number, lines in enumerate(bodies, 1)
    )


def _execute(sql: str) -> str:
    """Alembic reads `:word` as a parameter."""
    escaped = _COLON.sub(r"\:", sql)
    return f"op.execute({json.dumps(escaped, ensure_ascii=False)})"


def _outside(*lines: str) -> str:
    return "\n".join(("with op.get_context().autocommit_block():", *(f"    {line}" for line in lines)))


def _last(change: Change) -> str:
    """The own name of what belongs to a table, as printed."""
    owner: ObjectKey | None = change.owner
    return change.key.identity if owner is None else change.key.identity.removeprefix(f"{owner.identity}.")
