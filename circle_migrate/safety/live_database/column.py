"""Probes for changed and dropped columns and relations: nulls, conversions, dropped values and rows.

ALTER COLUMN … TYPE converts by assignment, or by an expression after USING that the catalog does not keep.
Of such expressions only chains of casts of the column itself are checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import literal, split_identity, unquote_and_fold
from circle_migrate.safety.live_database.definitions import Token, split_items, tokenize, without_spaces
from circle_migrate.safety.live_database.probe_context import NoLiveName, ProbeContext, column_of, count_query
from circle_migrate.safety.live_database.record import STORING, TYPES, Probe, ProbeKind
from circle_migrate.safety.trace.record import Task

_VALUE_FIELDS = ("default", "generated", "identity")
"""Fields of a new column that give its rows a value."""

OWN_EXPRESSION = "the revision converts the values with an expression of its own"
_TYPE = re.compile(r"(?P<base>.*?)(?:\((?P<arguments>[\d, -]+)\))?(?P<rest>(?: with(?:out)? time zone)?)")
_CAST_CALL = re.compile(r"CAST \( (?P<inner>.*) AS (?P<type>.*) \)", re.IGNORECASE)
_VARYING, _PADDED = "character varying", "character"
_UNLIMITED = frozenset({"text", _VARYING})
_TEXTS = frozenset({"text", _VARYING, _PADDED, "name", "citext"})
_BITS = frozenset({"bit", "bit varying"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TIMES = frozenset(
    {"date", *(f"{type_} with{out} time zone" for type_ in ("timestamp", "time") for out in ("", "out"))}
)
_ALL_FIT: Mapping[str, frozenset[str]] = {
    "smallint": frozenset({"integer", "bigint", "numeric", "real", "double precision"}),
    "integer": frozenset({"bigint", "numeric", "double precision"}),
    "bigint": frozenset({"numeric"}),
    "real": frozenset({"double precision"}),
    "date": frozenset({"timestamp without time zone", "timestamp with time zone"}),
    "timestamp without time zone": frozenset({"timestamp with time zone"}),
    "timestamp with time zone": frozenset({"timestamp without time zone"}),
    "jsonb": frozenset({"json"}),
}
"""Types, and the types without limits that hold all their values."""


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
                    if change.new("not_null") == "yes" and not _is_not_valid(change, context):
                        yield from _null_values(context, *column_of(change), subject=change.key.identity)
                    yield from _conversion(change, context)
        elif change.key.kind in STORING and change.op is Op.REMOVED:
            yield from _dropped_rows(change, context)
        elif change.key.kind == "constraint":
            yield from _validated_not_null(change, context)
        elif (change.key.kind, change.op) == ("domain", Op.CHANGED) and change.new("not_null") == "yes":
            domain = change.key.identity
            yield from context.domain_probes(ProbeKind.NULLS, domain, domain, "VALUE IS NULL")
    for work in context.renames.statement.work:
        live = context.before.relation(work.relation)
        if work.task in (Task.TRUNCATE, Task.DELETE) and not isinstance(live, NoLiveName):
            yield Probe(ProbeKind.ROWS, live, work.relation, count_query(live, ""))


def _dropped_values(change: Change, context: ProbeContext) -> Iterator[Probe]:
    column, renames = column_of(change), context.renames
    if column.relation in renames.removed or column in renames.columns:
        return
    live = context.before.column(*column)
    relation = context.before.relation(column.relation)
    if change.has("inherited", "generated") or NoLiveName.NEW in (live, relation):
        return
    if column in renames.ambiguous or isinstance(live, NoLiveName) or isinstance(relation, NoLiveName):
        name = column.relation if isinstance(relation, NoLiveName) else relation
        yield Probe(ProbeKind.VALUES, name, change.key.identity, unknown=NoLiveName.AMBIGUOUS.value)
        return
    yield Probe(ProbeKind.VALUES, relation, change.key.identity, count_query(relation, f"{live} IS NOT NULL"))


def _dropped_rows(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Count the rows of a dropped relation; those of partitions are counted with their parent."""
    name, renames = change.key.identity, context.renames
    live = context.before.relation(name)
    parents = change.old("partition_of").split("\n")
    if live is NoLiveName.NEW or name in renames.relations or not renames.removed.isdisjoint(parents):
        return
    if name in renames.ambiguous or isinstance(live, NoLiveName):
        yield Probe(ProbeKind.ROWS, name, name, unknown=NoLiveName.AMBIGUOUS.value)
    else:
        yield Probe(ProbeKind.ROWS, live, name, count_query(live, ""))


def _required_values(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Count all rows where a new column is NOT NULL and nothing gives it a value."""
    column, renames = column_of(change), context.renames
    if column in renames.columns.values() or column.relation in renames.added:
        return
    required = change.has("not_null") and not change.has("inherited", *_VALUE_FIELDS)
    if required and not _is_not_valid(change, context):
        yield from context.row_probe(ProbeKind.NULLS, column.relation, change.key.identity, "")


def _validated_not_null(change: Change, context: ProbeContext) -> Iterator[Probe]:
    """Count nulls for a NOT NULL that was NOT VALID; a valid one is a field of its column only."""
    before = change.old("definition")
    if change.owner is None or change.old("validated") != "no" or not before.startswith("NOT NULL "):
        return
    name = split_identity(change.key.identity)[-1]
    table = change.owner.identity
    column = before.removeprefix("NOT NULL ").removesuffix(" NOT VALID").removesuffix(" NO INHERIT")
    dropped = any(
        "not_null" in nullable.fields
        and not nullable.new("not_null")
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
        and constraint.new("definition").startswith(f"NOT NULL {column.name} ")
        and constraint.new("validated") == "no"
        for constraint in context.renames.changes(Op.ADDED, "constraint")
    )


def _null_values(context: ProbeContext, relation: str, column: str, *, subject: str) -> Iterator[Probe]:
    live = context.after.column(relation, column)
    condition = live if isinstance(live, NoLiveName) else f"{live} IS NULL"
    yield from context.row_probe(ProbeKind.NULLS, relation, subject, condition)


def _conversion(change: Change, context: ProbeContext) -> Iterator[Probe]:
    old, new = change.old("type"), change.new("type")
    types = {
        (other.op, other.key.identity)
        for other in context.renames.statement.changes
        if other.key.kind in TYPES
    }
    renamed = {(Op.REMOVED, old.removesuffix("[]")), (Op.ADDED, new.removesuffix("[]"))}
    if not old or not new or renamed <= types:
        return
    column, subject = column_of(change), change.key.identity
    live = context.after.column(*column)
    relation = context.after.relation(column.relation)
    if isinstance(live, NoLiveName) or isinstance(relation, NoLiveName):
        absent = NoLiveName.NEW if NoLiveName.NEW in (live, relation) else NoLiveName.AMBIGUOUS
        yield from context.row_probe(ProbeKind.UNCASTABLE, column.relation, subject, absent)
        return
    sql = context.renames.statement.sql
    checks = conversion_checks(relation, live, column.name, (old, new), sql, context.labels)
    for kind, query, unknown in checks:
        related = (relation, column.relation) if query else ()
        yield Probe(kind, relation, subject, query, unknown=unknown, related=related)


@dataclass(frozen=True, slots=True)
class Type:
    """A type as `format_type` prints it: its name, and the limits in brackets."""

    base: str
    limits: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Type:
        """Parse a printed type; one of another shape has no limits."""
        match = _TYPE.fullmatch(text)
        if match is None or not match["arguments"]:
            return cls(text)
        return cls(match["base"] + match["rest"], tuple(map(int, match["arguments"].split(","))))


def conversion_checks(
    relation: str,
    value: str,
    column: str,
    types: tuple[str, str],
    sql: str,
    labels: Mapping[str, tuple[str, ...]],
) -> Iterator[tuple[ProbeKind, str, str]]:
    """Yield queries for values that a change of a column's type, old and new, by `sql` rejects or alters.

    Where there is no query, the third text says why. `relation` and `value` are live names; `labels` are
    those of enumerations that the plan has created or changed, by type.
    """
    old_type, new_type = types
    using = using_expression(column, sql)
    casts = None if using is None else cast_types(column, using)
    if using is not None and casts is None:
        yield ProbeKind.UNCASTABLE, "", OWN_EXPRESSION
        return
    old, new = Type.parse(old_type), Type.parse(new_type)
    as_text = old.base.rpartition(".")[2] in _TEXTS or bool(casts and casts[0].lower() in _UNLIMITED)
    if new_type in labels and (as_text or old_type in labels):
        removed = f"{value}::text NOT IN ({', '.join(map(literal, labels[new_type]))})"
        yield ProbeKind.UNCASTABLE, count_query(relation, removed), ""
    elif new.base in {_VARYING, _PADDED} and new.limits:
        if old.base in {_VARYING, _PADDED} and old.limits and old.limits <= new.limits:
            return
        # Trailing spaces are removed; of longer values assignment fails and a cast truncates.
        too_long = f"pg_catalog.char_length(pg_catalog.rtrim({value}::text)) > {new.limits[0]}"
        kind = ProbeKind.TOO_LONG if using is None else ProbeKind.CUT
        yield kind, count_query(relation, too_long), ""
    elif new.base in _UNLIMITED or _fits(old, new):
        return
    elif {old.base, new.base} & _BITS:
        yield ProbeKind.TOO_LONG, "", "the length of bit strings is not checked"
    elif as_text:
        invalid = f"NOT pg_catalog.pg_input_is_valid({value}::text, {literal(new_type)})"
        yield ProbeKind.UNCASTABLE, count_query(relation, invalid), ""
    else:
        # The query casts all values, as it counts the results, and fails if the cast fails for one.
        cast = f"({value})::{new_type}"
        yield ProbeKind.UNCASTABLE, f"SELECT count({cast}) * 0 FROM {relation}", ""
        if {old.base, new.base} <= _NUMBERS or {old.base, new.base} <= _TIMES:
            differs = f"({cast})::{old_type} IS DISTINCT FROM {value}"
            yield ProbeKind.CUT, count_query(relation, differs), ""


def _fits(old: Type, new: Type) -> bool:
    """Return whether the new type holds every value of the old one."""
    if old.base == new.base:
        if old.base == "numeric" and old.limits and new.limits:
            (old_digits, old_scale), (digits, scale) = old.limits, new.limits
            return scale >= old_scale and digits - scale >= old_digits - old_scale
        return not new.limits or bool(old.limits and old.limits <= new.limits)
    return not new.limits and new.base in _ALL_FIT.get(old.base, ())


def using_expression(column: str, sql: str) -> str | None:
    """Return the USING expression for a column's new type, or all of a text that is not ALTER TABLE."""
    tokens = without_spaces(tokenize(sql))
    keywords = [token.text.upper() for token in tokens]
    if keywords[:2] != ["ALTER", "TABLE"]:
        return sql if re.search(r"\bUSING\b", sql, re.IGNORECASE) else None
    for action in split_items(tokens, ",;"):
        keywords = [token.text.upper() for token in action]
        if "TYPE" not in keywords or "USING" not in keywords:
            continue
        if any(_is_column(token, column) for token in action[: keywords.index("TYPE")]):
            return " ".join(token.text for token in action[keywords.index("USING") + 1 :])
    return None


def cast_types(column: str, expression: str) -> tuple[str, ...] | None:
    """Return the types that an expression casts a column to, in order; None for any other expression."""
    expression = expression.strip()
    if match := _CAST_CALL.fullmatch(expression):
        inner = cast_types(column, match["inner"])
        return None if inner is None else (*inner, match["type"].strip())
    tokens = without_spaces(tokenize(expression))
    texts = [token.text for token in tokens]
    last = max((at for at, token in enumerate(tokens) if (token.text, token.depth) == ("::", 0)), default=-1)
    if last >= 0:
        inner = cast_types(column, " ".join(texts[:last]))
        return None if inner is None else (*inner, " ".join(texts[last + 1 :]))
    if texts and (texts[0], texts[-1]) == ("(", ")"):
        return cast_types(column, " ".join(texts[1:-1]))
    return () if len(tokens) == 1 and _is_column(tokens[0], column) else None


def _is_column(token: Token, column: str) -> bool:
    return token.kind == "name" and unquote_and_fold(token.text) == unquote_and_fold(column)
