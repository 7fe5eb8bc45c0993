"""Probes for constraints and unique indexes that existing rows have to satisfy, and for sequences.

The catalog does not show a restart, as the last value is a row of the sequence: it is read from the
statement's text, constant numbers only. `setval` to a computed maximum yields no value again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import IDENTIFIER, literal, split_identity, unquote_and_fold
from circle_migrate.postgres.sql_text import compile_pattern
from circle_migrate.safety.live_database import definitions
from circle_migrate.safety.live_database.probe_context import NoLiveName, ProbeContext, column_of, count_query
from circle_migrate.safety.live_database.record import STORING, ColumnName, Probe, ProbeKind
from circle_migrate.safety.trace.record import Task

_KINDS = ("constraint", "index", "domain constraint")
_NAME = rf"(?:{IDENTIFIER}\s*\.\s*)?{IDENTIFIER}"
_OPTIONAL = r"(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?"
_RESTART = r"[^;]*?\bRESTART\b(?:\s+WITH)?(?:\s+(?P<start>-?\d+))?"
_RESTARTED = compile_pattern(rf"\bALTER\s+SEQUENCE\s+{_OPTIONAL}(?P<sequence>{_NAME})\b{_RESTART}")
_IDENTITY_RESTARTED = compile_pattern(
    rf"\bALTER\s+TABLE\s+{_OPTIONAL}(?P<table>{_NAME})\s+ALTER\s+(?:COLUMN\s+)?(?P<column>{IDENTIFIER}){_RESTART}"
)
_SET = compile_pattern(
    rf"\bsetval\s*\(\s*'(?P<sequence>{_NAME})'(?:\s*::\s*regclass)?\s*,\s*(?P<start>-?\d+)"
    r"(?:\s*,\s*(?P<called>true|false))?\s*\)"
)
_NOT_NULL = compile_pattern(rf"NOT NULL ({IDENTIFIER})")
_NEXT = re.compile(r"nextval\('(?P<sequence>(?:[^']|'')+)'::regclass\)")
_IDENTITY_OPTION = re.compile(r"^(START WITH|MINVALUE) (-?\d+)$", re.MULTILINE)
_CONSTANT = re.compile(r"\((?:'(?:[^']|'')*'|-?[\d.]+|true|false)(?:::[^()]+(?:\([\d,]+\))?)?\)")
_NUMBERING_FIELDS = frozenset({"start", "increment", "minimum", "maximum", "type"})


def constraint_probes(context: ProbeContext) -> Iterator[Probe]:
    """Yield the probes for all constraints and indexes that a statement creates or validates."""
    for change in context.renames.statement.changes:
        owner = change.owner
        if owner is not None and owner.kind in STORING and change.op is Op.ADDED:
            yield from _refused_writes(change, owner.identity, context)
        if owner is not None and owner.kind == "domain" and change.op is Op.ADDED and change.new("validated"):
            yield from _of_domain(ProbeKind.REFUSED, change, owner.identity, context)
        if owner is None or not _is_new(change, context):
            continue
        if owner.kind in STORING:
            yield from _relation_probes(change, owner.identity, context)
        elif owner.kind == "domain":
            yield from _of_domain(ProbeKind.VIOLATIONS, change, owner.identity, context)
    yield from _partition_probes(context)


def _of_domain(kind: ProbeKind, change: Change, domain: str, context: ProbeContext) -> Iterator[Probe]:
    violation = f"NOT {definitions.parse_check(change.new('definition'))}"
    return context.domain_probes(kind, domain, change.key.identity, violation)


def _relation_probes(change: Change, relation: str, context: ProbeContext) -> Iterator[Probe]:
    definition, subject = change.new("definition"), change.key.identity
    match definition.partition(" ")[0].upper():
        case "FOREIGN":
            kind, probes = ProbeKind.ORPHANS, _orphans
        case "CHECK":
            kind, probes = ProbeKind.VIOLATIONS, _violations
        case _:
            kind, probes = ProbeKind.DUPLICATES, _duplicates
    try:
        yield from probes(kind, context, relation, subject, definition)
    except definitions.UnreadableError as error:
        yield from context.unknown(kind, relation, subject, str(error))


def _refused_writes(change: Change, relation: str, context: ProbeContext) -> Iterator[Probe]:
    """Yield the probes for what the running release can no longer write: existing rows, or new defaults."""
    definition, subject = change.new("definition"), change.key.identity
    not_valid, live = change.new("validated") == "no", context.after.relation(relation)
    if isinstance(live, NoLiveName) or _is_covered_by_parent(change, context):
        return
    with suppress(definitions.UnreadableError):
        if definition.startswith("FOREIGN KEY"):
            if _has_defaults(context, relation, definitions.parse_reference(definition).columns):
                yield from _orphans(ProbeKind.INSERTS, context, relation, subject, definition)
            if not_valid:
                yield from _orphans(ProbeKind.REFUSED, context, relation, subject, definition)
        elif (required := _NOT_NULL.match(definition)) or definition.startswith("CHECK"):
            broken = f"{required[1]} IS NULL" if required else f"NOT {definitions.parse_check(definition)}"
            condition = context.live_expression(relation, broken, with_defaults=True)
            names = (name for name in definitions.columns_in(broken) if name[0] == '"' or not name.isupper())
            if _has_defaults(context, relation, names):
                if required:
                    return  # which the catalog shows
                query = f"SELECT count(*) FROM (SELECT 1 WHERE {condition}) AS counted"
                yield Probe(ProbeKind.INSERTS, live, subject, query)
            elif not_valid:
                yield from context.row_probe(ProbeKind.REFUSED, relation, subject, condition)
        elif definition.startswith(("CREATE UNIQUE", "UNIQUE", "PRIMARY", "EXCLUDE")):
            unique = definitions.parse_uniqueness(definition)
            values = (context.defaults.get(ColumnName(relation, key), "") for key in unique.keys)
            if unique.predicate is None and all(map(_CONSTANT.fullmatch, values)):
                yield Probe(ProbeKind.INSERTS, live, subject, "SELECT 1")


def _has_defaults(context: ProbeContext, relation: str, names: Iterable[str]) -> bool:
    """Return whether the plan creates all these columns, each with a default, which may be NULL."""
    return all(ColumnName(relation, name) in context.defaults for name in names)


def _is_new(change: Change, context: ProbeContext) -> bool:
    """Return whether existing rows have to satisfy a constraint that they did not have to before."""
    definition = change.new("definition")
    if not definition or change.op is Op.REMOVED or change.key.kind not in _KINDS:
        return False
    if change.key.kind == "index":
        if not definition.startswith("CREATE UNIQUE ") or "no" in change.fields.get("valid", ()):
            return False
    elif change.new("validated") == "no" or definition.startswith(("NOT NULL ", "TRIGGER")):
        return False
    if change.op is Op.CHANGED and "validated" not in change.fields:
        columns = context.renames.changes(Op.CHANGED, "column")
        # Another type of a column of the relation changes how definitions are printed.
        is_retyped = any(column.of == change.of and "type" in column.fields for column in columns)
        return not (context.renames.is_rename or is_retyped)
    return not (_is_covered_by_parent(change, context) or _held_before(change, definition, context))


def _is_covered_by_parent(change: Change, context: ProbeContext) -> bool:
    """Return whether the probe for the parent's own constraint reads the partition."""
    if "yes" not in change.fields.get("inherited", ()):
        return False
    return change.owner is None or change.owner.identity not in _attached(context)


def _attached(context: ProbeContext) -> frozenset[str]:
    """Return the tables that a statement makes partitions of others."""
    tables = context.renames.changes(Op.CHANGED, "table")
    return frozenset(change.key.identity for change in tables if change.new("partition_of"))


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
        if (old_definition := old.old("definition")) and "no" not in (old.old("validated"), old.old("valid"))
    )


def _demand(definition: str) -> definitions.Uniqueness | str:
    """Return what a definition demands of rows, the same for a unique index and a constraint."""
    if definition.startswith(("CREATE INDEX", "CHECK", "FOREIGN")):
        return definition
    try:
        return definitions.parse_uniqueness(definition)
    except definitions.UnreadableError:
        return definition


def _duplicates(
    kind: ProbeKind, context: ProbeContext, relation: str, subject: str, definition: str
) -> tuple[Probe, ...]:
    unique = definitions.parse_uniqueness(definition)
    predicate = context.live_expression(relation, unique.predicate or "", with_defaults=True)
    rows, live = _rows(context, relation, unique.keys), context.after.relation(relation)
    absent = next((name for name in (rows, predicate, live) if isinstance(name, NoLiveName)), None)
    if absent is not None:
        return context.row_probe(kind, relation, subject, absent)
    names = [f"key{number}" for number in range(len(unique.keys))]
    rows = f"({rows} FROM {live}{f' WHERE {predicate}' if predicate else ''})"
    if unique.operators:
        pairs = zip(names, unique.operators, strict=True)
        conflict = " AND ".join(f"one.{name} {operator} other.{name}" for name, operator in pairs)
        other = f"(other.part, other.place) <> (one.part, one.place) AND {conflict}"
        query = count_query(f"{rows} AS one", f"EXISTS (SELECT 1 FROM {rows} AS other WHERE {other})")
    else:
        conditions = [f"{name} IS NOT NULL" for name in names] if unique.nulls_distinct else []
        grouping = f" GROUP BY {', '.join(names)} HAVING count(*) > 1"
        query = count_query(f"{rows} AS keys", " AND ".join(conditions), grouping)
    return (Probe(kind, str(live), subject, query, related=(str(live), relation)),)


def _rows(
    context: ProbeContext, relation: str, keys: Iterable[str], place: str = "tableoid AS part, ctid AS place"
) -> str | NoLiveName:
    """Return the beginning of a query for keys of rows, with the defaults of new columns."""
    values = [context.live_expression(relation, key, with_defaults=True) for key in keys]
    columns = (f"{value} AS key{number}" for number, value in enumerate(values))
    absent = next((value for value in values if isinstance(value, NoLiveName)), None)
    return absent or f"SELECT {', '.join(filter(None, (place, *columns)))}"


def _orphans(
    kind: ProbeKind, context: ProbeContext, relation: str, subject: str, definition: str
) -> tuple[Probe, ...]:
    """Count the rows without a referenced row; for INSERTS one row that consists of defaults."""
    key = definitions.parse_reference(definition)
    live, parent = context.after.relation(relation), context.after.relation(key.relation)
    referenced = [context.after.column(key.relation, name) for name in key.referenced]
    rows = _rows(context, relation, key.columns, place="")
    absent = next((name for name in (live, rows) if isinstance(name, NoLiveName)), None)
    if absent is not None:
        return context.row_probe(kind, relation, subject, absent)
    columns = [f"child.key{number}" for number in range(len(referenced))]
    rows = f"({rows})" if kind is ProbeKind.INSERTS else f"({rows} FROM {live})"
    has_key = (" OR " if key.full else " AND ").join(f"{name} IS NOT NULL" for name in columns)
    related: tuple[str, ...] = (str(live), relation, str(parent), key.relation)
    unknown = ""
    if any(isinstance(name, NoLiveName) for name in referenced):
        unknown = "the plan creates the referenced table or column"
    else:
        pairs = zip(columns, referenced, strict=True)
        matches = " AND ".join(f"parent.{name} = {own}" for own, name in pairs)
        has_key = f"({has_key}) AND NOT EXISTS (SELECT 1 FROM {parent} AS parent WHERE {matches})"
    query = count_query(f"{rows} AS child", has_key)
    return (Probe(kind, str(live), subject, query, unknown=unknown, related=related),)


def _violations(
    kind: ProbeKind, context: ProbeContext, relation: str, subject: str, definition: str
) -> tuple[Probe, ...]:
    check = context.live_expression(relation, definitions.parse_check(definition))
    violation = check if isinstance(check, NoLiveName) else f"NOT {check}"
    return context.row_probe(kind, relation, subject, violation)


def _partition_probes(context: ProbeContext) -> Iterator[Probe]:
    """Yield a probe without query for each table whose rows PostgreSQL checks against partition bounds."""
    attached = _attached(context)
    tables = context.renames.changes(Op.ADDED, "table")
    created = any(change.new("partition_of") for change in tables)
    scanned = {work.relation for work in context.renames.statement.work if work.task is Task.SCAN}
    for relation in sorted(scanned) if attached or created else ():
        reason = "rows of the default partition that belong into the new one are not counted"
        if relation in attached:
            reason = "rows outside the bounds of the partition are not counted"
        yield from context.unknown(ProbeKind.VIOLATIONS, relation, relation, reason)


def sequence_probes(context: ProbeContext) -> Iterator[Probe]:
    """Yield the probes for changed sequences and for columns that a statement gives a sequence."""
    for change in context.renames.changes(Op.CHANGED, "column"):
        if change.owner is not None and change.owner.kind in STORING:
            yield from _new_sequence_of(change, context)
    for change in context.renames.changes(Op.CHANGED, "sequence"):
        if not _NUMBERING_FIELDS.isdisjoint(change.fields):
            yield from _owned_column_probes(change.key.identity, _next_of(change.key.identity), context)
            yield from _out_of_bounds(change, context)
    yield from _restarted(context)


def _out_of_bounds(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Check whether the sequence is already beyond its new bounds, which PostgreSQL refuses (22023)."""
    bounds = (("maximum", ">"), ("minimum", "<"))
    tests = [f"last_value {sign} {change.fields[name][1]}" for name, sign in bounds if name in change.fields]
    sequence = change.key.identity
    if tests:
        yield from context.row_probe(ProbeKind.VIOLATIONS, sequence, sequence, " OR ".join(tests))


def _new_sequence_of(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Yield the probes for a column that becomes an identity, or has its default from another sequence."""
    column = column_of(change)
    was_identity, identity = change.fields.get("identity", ("", None))
    if was_identity is None and identity is not None:
        options = dict(_IDENTITY_OPTION.findall(identity))  # PostgreSQL prints those that are not the default
        start = options.get("START WITH") or options.get("MINVALUE") or "1"
        yield from _repeated_values(context, column, start, change.key.identity)
    if was_identity and (identity or "").startswith("always"):
        yield from _given_values(context, column, change.key.identity)
    dropped = _NEXT.search(change.old("default"))
    if dropped is not None and change.op is Op.CHANGED and not (change.new("default") or identity):
        unused = f"NOT (SELECT is_called FROM {dropped['sequence']})"
        yield from context.row_probe(ProbeKind.GIVEN, column.relation, change.key.identity, unused)
    default = _NEXT.search(change.new("default"))
    if default is not None and not context.renames.is_rename:
        sequence = default["sequence"].replace("''", "'")
        start = context.starts.get(sequence, _next_of(sequence))
        yield from _repeated_values(context, column, start, change.key.identity, sequence)


def _given_values(context: ProbeContext, column: ColumnName, subject: str) -> Iterator[Probe]:
    """Count the values of an identity column that its sequence has not yielded."""
    for sequence, fed in (context.usage.sequences if context.usage else {}).items():
        live = context.after.column(*column)
        if not isinstance(live, NoLiveName) and (context.after.relation(column.relation), live) == fed:
            given = f"{live} > (SELECT CASE WHEN is_called THEN last_value END FROM {sequence})"
            yield from context.row_probe(ProbeKind.GIVEN, column.relation, subject, f"({given}) IS NOT FALSE")


def _restarted(context: ProbeContext) -> Iterator[Probe]:
    sql = context.renames.statement.sql
    for match in _IDENTITY_RESTARTED.finditer(sql):
        table, name = _name_parts(match["table"]), unquote_and_fold(match["column"])
        for sequence, column in (context.usage.sequences if context.usage else {}).items():
            if _is_named(column.relation, table) and unquote_and_fold(column.name) == name:
                start = match["start"] or _declared_start(sequence)
                yield from _repeated_values(context, column, start, sequence, sequence)
    for match in (*_RESTARTED.finditer(sql), *_SET.finditer(sql)):
        start = match["start"]
        if match.re is _SET and (match["called"] or "true").lower() == "true":
            start = str(int(start) + 1)
        yield from _owned_column_probes(match["sequence"], start, context)


def _owned_column_probes(name: str, start: str | None, context: ProbeContext) -> Iterator[Probe]:
    """Yield a probe for the column of a sequence that begins at `start`, by default at its declared start."""
    if context.usage is None:
        yield Probe(ProbeKind.BEHIND, name, name, unknown="the column of the sequence is not known")
        return
    for sequence, column in context.usage.sequences.items():
        if _is_named(sequence, _name_parts(name)):
            first = start or _declared_start(sequence)
            yield from _repeated_values(context, column, first, sequence, sequence)


def _repeated_values(
    context: ProbeContext, column: ColumnName, start: str, subject: str, *sequences: str
) -> Iterator[Probe]:
    """Count the values of a column that a sequence which begins at `start` would yield again."""
    live = context.after.column(*column)
    condition = live if isinstance(live, NoLiveName) else f"{live} >= {start}"
    for probe in context.row_probe(ProbeKind.BEHIND, column.relation, subject, condition):
        yield replace(probe, related=sequences)


def _next_of(sequence: str) -> str:
    return f"(SELECT last_value + is_called::int FROM {sequence})"


def _declared_start(sequence: str) -> str:
    return f"(SELECT seqstart FROM pg_catalog.pg_sequence WHERE seqrelid = {literal(sequence)}::regclass)"


def _name_parts(name: str) -> tuple[str, ...]:
    return tuple(unquote_and_fold(part.strip()) for part in split_identity(name) if part.strip())


def _is_named(printed: str, name: tuple[str, ...]) -> bool:
    """Return whether a printed name is `name`, which may leave out the schema."""
    return _name_parts(printed)[-len(name) :] == name
