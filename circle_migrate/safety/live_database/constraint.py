"""Probes for constraints and unique indexes, of tables and of domains, that existing rows have to satisfy."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.safety.live_database.parse_definition import (
    Uniqueness,
    UnreadableError,
    parse_check,
    parse_reference,
    parse_uniqueness,
)
from circle_migrate.safety.live_database.probe_context import (
    STORING,
    NoLiveName,
    ProbeContext,
    count_query,
    new_value,
    old_value,
)
from circle_migrate.safety.live_database.record import Probe, ProbeKind
from circle_migrate.safety.trace.record import Task

_KINDS = ("constraint", "index", "domain constraint")


def constraint_probes(context: ProbeContext) -> Iterator[Probe]:
    """Yield the probes for all constraints and indexes that a statement creates or validates."""
    for change in context.renames.statement.changes:
        owner = change.owner
        if owner is None or not _is_new(change, context):
            continue
        if owner.kind in STORING:
            yield from _relation_probes(change, owner.identity, context)
        elif owner.kind == "domain":
            violation = f"NOT {parse_check(new_value(change, 'definition') or '')}"
            subject = change.key.identity
            yield from context.domain_probes(ProbeKind.VIOLATIONS, owner.identity, subject, violation)
    yield from _partition_probes(context)


def _relation_probes(change: Change, relation: str, context: ProbeContext) -> Iterator[Probe]:
    definition, subject = new_value(change, "definition") or "", change.key.identity
    match definition.partition(" ")[0].upper():
        case "FOREIGN":
            kind, probes = ProbeKind.ORPHANS, _orphans
        case "CHECK":
            kind, probes = ProbeKind.VIOLATIONS, _violations
        case _:
            kind, probes = ProbeKind.DUPLICATES, _duplicates
    try:
        yield from probes(context, relation, subject, definition)
    except UnreadableError as error:
        yield from context.unknown(kind, relation, subject, str(error))


def _is_new(change: Change, context: ProbeContext) -> bool:
    """Return whether existing rows have to satisfy a constraint that they did not have to before."""
    definition = new_value(change, "definition")
    if change.op is Op.REMOVED or change.key.kind not in _KINDS or definition is None:
        return False
    if not _checks_rows(change, definition):
        return False
    if change.op is Op.CHANGED and "validated" not in change.fields:
        return not context.renames.is_rename and not _has_new_type(change, context)
    return not (_is_covered_by_parent(change, context) or _held_before(change, definition, context))


def _checks_rows(change: Change, definition: str) -> bool:
    if change.key.kind == "index":
        return definition.startswith("CREATE UNIQUE ") and "no" not in change.fields.get("valid", ())
    return new_value(change, "validated") != "no" and not definition.startswith(("NOT NULL ", "TRIGGER"))


def _has_new_type(change: Change, context: ProbeContext) -> bool:
    """Return whether a column of the relation has another type, which changes how definitions are printed."""
    columns = context.renames.changes(Op.CHANGED, "column")
    return any(column.of == change.of and "type" in column.fields for column in columns)


def _is_covered_by_parent(change: Change, context: ProbeContext) -> bool:
    """Return whether the probe for the parent's own constraint reads the partition."""
    if "yes" not in change.fields.get("inherited", ()):
        return False
    return change.owner is None or change.owner.identity not in _attached(context)


def _attached(context: ProbeContext) -> frozenset[str]:
    """Return the tables that a statement makes partitions of others."""
    tables = context.renames.changes(Op.CHANGED, "table")
    return frozenset(
        change.key.identity for change in tables if new_value(change, "partition_of") is not None
    )


def _held_before(change: Change, definition: str, context: ProbeContext) -> bool:
    """Return whether the same constraint had another name, or was the index that a constraint takes over."""
    renames = context.renames
    owner = change.owner.identity if change.owner else None
    if owner in renames.ambiguous or owner in renames.relations.values():
        return True
    demand = _demand(definition)
    return any(
        _demand(old_definition) == demand
        for old in renames.statement.changes
        if old.op is not Op.ADDED and old.key.kind in _KINDS and old.of == change.of
        if (old_definition := old_value(old, "definition")) is not None
        and "no" not in (old_value(old, "validated"), old_value(old, "valid"))
    )


def _demand(definition: str) -> Uniqueness | str:
    """Return what a definition demands of rows, the same for a unique index and a constraint."""
    if definition.startswith(("CREATE INDEX", "CHECK", "FOREIGN")):
        return definition
    try:
        return parse_uniqueness(definition)
    except UnreadableError:
        return definition


def _duplicates(context: ProbeContext, relation: str, subject: str, definition: str) -> tuple[Probe, ...]:
    unique = parse_uniqueness(definition)
    keys = [context.live_expression(relation, key) for key in unique.keys]
    predicate = context.live_expression(relation, unique.predicate or "")
    live = context.after.relation(relation)
    absent = next((name for name in (*keys, predicate, live) if isinstance(name, NoLiveName)), None)
    if absent is not None:
        return context.row_probe(ProbeKind.DUPLICATES, relation, subject, absent)
    conditions = [str(predicate)] if predicate else []
    if unique.nulls_distinct:
        conditions += [f"({key}) IS NOT NULL" for key in keys]
    grouping = f" GROUP BY {', '.join(map(str, keys))} HAVING count(*) > 1"
    query = count_query(str(live), " AND ".join(conditions), grouping)
    return (Probe(ProbeKind.DUPLICATES, str(live), subject, query, related=(str(live), relation)),)


def _orphans(context: ProbeContext, relation: str, subject: str, definition: str) -> tuple[Probe, ...]:
    key = parse_reference(definition)
    live, parent = context.after.relation(relation), context.after.relation(key.relation)
    child = [context.after.column(relation, name) for name in key.columns]
    referenced = [context.after.column(key.relation, name) for name in key.referenced]
    absent = next((name for name in child if isinstance(name, NoLiveName)), None)
    if absent is not None:
        return context.row_probe(ProbeKind.ORPHANS, relation, subject, absent)
    if isinstance(parent, NoLiveName) or any(isinstance(name, NoLiveName) for name in referenced):
        reason = "the plan creates the referenced table or column"
        return context.unknown(ProbeKind.ORPHANS, relation, subject, reason)
    columns = [f"child.{name}" for name in child]
    pairs = " AND ".join(f"parent.{name} = {own}" for own, name in zip(columns, referenced, strict=True))
    has_key = (" OR " if key.full else " AND ").join(f"{name} IS NOT NULL" for name in columns)
    condition = f"({has_key}) AND NOT EXISTS (SELECT 1 FROM {parent} AS parent WHERE {pairs})"
    query = count_query(f"{live} AS child", condition)
    related = (str(live), relation, parent, key.relation)
    return (Probe(ProbeKind.ORPHANS, str(live), subject, query, related=related),)


def _violations(context: ProbeContext, relation: str, subject: str, definition: str) -> tuple[Probe, ...]:
    check = context.live_expression(relation, parse_check(definition))
    violation = check if isinstance(check, NoLiveName) else f"NOT {check}"
    return context.row_probe(ProbeKind.VIOLATIONS, relation, subject, violation)


def _partition_probes(context: ProbeContext) -> Iterator[Probe]:
    """Yield a probe without query for each table whose rows are checked against partition bounds.

    PostgreSQL reads a table that becomes a partition, and the default partition beside a new one, unless a
    constraint proves that the rows fit.
    """
    attached = _attached(context)
    tables = context.renames.changes(Op.ADDED, "table")
    created = any(new_value(change, "partition_of") is not None for change in tables)
    scanned = {work.relation for work in context.renames.statement.work if work.task is Task.SCAN}
    for relation in sorted(scanned) if attached or created else ():
        reason = "rows of the default partition that belong into the new one are not counted"
        if relation in attached:
            reason = "rows outside the bounds of the partition are not counted"
        yield from context.unknown(ProbeKind.VIOLATIONS, relation, relation, reason)
