"""Probes for changed and dropped columns and relations: nulls, conversions, dropped values and rows."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.probe_context import (
    STORING,
    NoLiveName,
    ProbeContext,
    column_of,
    count_query,
    new_value,
    old_value,
)
from circle_migrate.safety.live_database.record import Probe, ProbeKind
from circle_migrate.safety.live_database.type_change import Conversion
from circle_migrate.safety.trace.record import Task

_TYPES = ("enum", "domain", "composite type", "range type")
_VALUE_FIELDS = ("default", "generated", "identity")
"""Fields of a new column that give its rows a value."""

_AMBIGUOUS = NoLiveName.AMBIGUOUS.value


def column_probes(context: ProbeContext) -> Iterator[Probe]:
    """Yield the probes for all columns and relations that a statement changes or drops."""
    for change in context.renames.statement.changes:
        if change.key.kind == "column" and change.owner is not None and change.owner.kind in STORING:
            match change.op:
                case Op.REMOVED:
                    yield from _dropped_values(change, context)
                case Op.ADDED:
                    yield from _required_values(change, context)
                case Op.CHANGED:
                    yield from _nulls(change, context)
                    yield from _conversion(change, context)
        elif change.key.kind in STORING and change.op is Op.REMOVED:
            yield from _dropped_rows(change, context)
        elif change.key.kind == "constraint":
            yield from _validated_not_null(change, context)
        elif (change.key.kind, change.op) == ("domain", Op.CHANGED) and new_value(
            change, "not_null"
        ) == "yes":
            domain = change.key.identity
            yield from context.domain_probes(ProbeKind.NULLS, domain, domain, "VALUE IS NULL")
    yield from _truncated_rows(context)


def _dropped_values(change: Change, context: ProbeContext) -> Iterator[Probe]:
    column, renames = column_of(change), context.renames
    if column.relation in renames.removed or column in renames.columns:
        return
    live = context.before.column(*column)
    relation = context.before.relation(column.relation)
    if _has_any(change, "inherited", "generated") or NoLiveName.NEW in (live, relation):
        return
    if column in renames.ambiguous or isinstance(live, NoLiveName) or isinstance(relation, NoLiveName):
        name = column.relation if isinstance(relation, NoLiveName) else relation
        yield Probe(ProbeKind.VALUES, name, change.key.identity, unknown=_AMBIGUOUS)
        return
    yield Probe(ProbeKind.VALUES, relation, change.key.identity, count_query(relation, f"{live} IS NOT NULL"))


def _dropped_rows(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Count the rows of a dropped relation; those of partitions are counted with their parent."""
    name, renames = change.key.identity, context.renames
    live = context.before.relation(name)
    parents = (old_value(change, "partition_of") or "").split("\n")
    if live is NoLiveName.NEW or name in renames.relations or not renames.removed.isdisjoint(parents):
        return
    if name in renames.ambiguous or isinstance(live, NoLiveName):
        yield Probe(ProbeKind.ROWS, name, name, unknown=_AMBIGUOUS)
    else:
        yield Probe(ProbeKind.ROWS, live, name, count_query(live, ""))


def _truncated_rows(context: ProbeContext) -> Iterator[Probe]:
    for work in context.renames.statement.work:
        live = context.before.relation(work.relation)
        if work.task is Task.TRUNCATE and not isinstance(live, NoLiveName):
            yield Probe(ProbeKind.ROWS, live, work.relation, count_query(live, ""))


def _required_values(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Count all rows where a new column is NOT NULL and nothing gives it a value."""
    column, renames = column_of(change), context.renames
    if column in renames.columns.values() or column.relation in renames.added:
        return
    if (
        not _has_any(change, "inherited", *_VALUE_FIELDS)
        and _has_any(change, "not_null")
        and not _is_not_valid(change, context)
    ):
        yield from context.row_probe(ProbeKind.NULLS, column.relation, change.key.identity, "")


def _nulls(change: Change, context: ProbeContext) -> Iterator[Probe]:
    if new_value(change, "not_null") == "yes" and not _is_not_valid(change, context):
        yield from _null_values(context, *column_of(change), subject=change.key.identity)


def _validated_not_null(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Count nulls for a NOT NULL that was NOT VALID; a valid one is a field of its column only."""
    before = old_value(change, "definition") or ""
    if change.owner is None or old_value(change, "validated") != "no" or not before.startswith("NOT NULL "):
        return
    name = split_identity(change.key.identity)[-1]
    table = change.owner.identity
    column = before.removeprefix("NOT NULL ").removesuffix(" NOT VALID").removesuffix(" NO INHERIT")
    dropped = any(
        "not_null" in nullable.fields
        and new_value(nullable, "not_null") is None
        and column_of(nullable) == (table, column)
        for op in (Op.CHANGED, Op.REMOVED)
        for nullable in context.renames.changes(op, "column")
    )
    if not dropped and table not in context.renames.removed:
        yield from _null_values(context, table, column, subject=f"{table}.{name}")


def _is_not_valid(change: Change, context: ProbeContext) -> bool:
    """Return whether the statement makes the column NOT NULL for new rows only."""
    column = column_of(change)
    return any(
        constraint.of == change.of
        and (new_value(constraint, "definition") or "").startswith(f"NOT NULL {column.name} ")
        and new_value(constraint, "validated") == "no"
        for constraint in context.renames.changes(Op.ADDED, "constraint")
    )


def _null_values(context: ProbeContext, relation: str, column: str, *, subject: str) -> Iterator[Probe]:
    live = context.after.column(relation, column)
    condition = live if isinstance(live, NoLiveName) else f"{live} IS NULL"
    yield from context.row_probe(ProbeKind.NULLS, relation, subject, condition)


def _conversion(change: Change, context: ProbeContext) -> Iterator[Probe]:
    old, new = old_value(change, "type"), new_value(change, "type")
    if old is None or new is None or _is_type_rename(old, new, context):
        return
    column, subject = column_of(change), change.key.identity
    live = context.after.column(*column)
    relation = context.after.relation(column.relation)
    if isinstance(live, NoLiveName) or isinstance(relation, NoLiveName):
        absent = NoLiveName.NEW if NoLiveName.NEW in (live, relation) else NoLiveName.AMBIGUOUS
        yield from context.row_probe(ProbeKind.UNCASTABLE, column.relation, subject, absent)
        return
    sql = context.renames.statement.sql
    conversion = Conversion(relation, live, column.name, old, new, sql, context.labels)
    for kind, query, unknown in conversion.checks():
        related = (relation, column.relation) if query else ()
        yield Probe(kind, relation, subject, query, unknown=unknown, related=related)


def _is_type_rename(old: str, new: str, context: ProbeContext) -> bool:
    """Return whether the type itself was renamed."""
    removed = {change.key.identity for change in context.renames.changes(Op.REMOVED, *_TYPES)}
    added = {change.key.identity for change in context.renames.changes(Op.ADDED, *_TYPES)}
    return old.removesuffix("[]") in removed and new.removesuffix("[]") in added


def _has_any(change: Change, *fields: str) -> bool:
    """Return whether an added or removed column has any of these fields."""
    return any(side is not None for field in fields for side in change.fields.get(field, ()))
