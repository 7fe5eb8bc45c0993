"""Probes for sequences that would yield values their column has already.

The catalogue does not show a restart, as the last value is a row of the sequence: it is read from the
statement's text, constant numbers only. `setval` to a computed maximum yields no value again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import IDENTIFIER, literal, split_identity, unquote_and_fold
from circle_migrate.safety.live_database.probe_context import (
    STORING,
    NoLiveName,
    ProbeContext,
    column_of,
    new_value,
)
from circle_migrate.safety.live_database.record import ColumnName, Probe, ProbeKind

_NAME = rf"(?:{IDENTIFIER}\s*\.\s*)?{IDENTIFIER}"
_OPTIONAL = r"(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?"
_RESTART = r"[^;]*?\bRESTART\b(?:\s+WITH)?(?:\s+(?P<start>-?\d+))?"
_FLAGS = re.IGNORECASE | re.DOTALL
_RESTARTED = re.compile(rf"\bALTER\s+SEQUENCE\s+{_OPTIONAL}(?P<sequence>{_NAME})\b{_RESTART}", _FLAGS)
_IDENTITY_RESTARTED = re.compile(
    rf"\bALTER\s+TABLE\s+{_OPTIONAL}(?P<table>{_NAME})\s+ALTER\s+(?:COLUMN\s+)?(?P<column>{IDENTIFIER}){_RESTART}",
    _FLAGS,
)
_SET = re.compile(
    rf"\bsetval\s*\(\s*'(?P<sequence>{_NAME})'(?:\s*::\s*regclass)?\s*,\s*(?P<start>-?\d+)"
    r"(?:\s*,\s*(?P<called>true|false))?\s*\)",
    _FLAGS,
)
_NEXT = re.compile(r"nextval\('(?P<sequence>(?:[^']|'')+)'::regclass\)")
_IDENTITY_OPTION = re.compile(r"^(START WITH|MINVALUE) (-?\d+)$", re.MULTILINE)
_NUMBERING_FIELDS = frozenset({"start", "increment", "minimum", "maximum", "type"})


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
    default = _NEXT.search(new_value(change, "default") or "")
    if default is not None and not context.renames.is_rename:
        sequence = default["sequence"].replace("''", "'")
        start = context.starts.get(sequence, _next_of(sequence))
        yield from _repeated_values(context, column, start, change.key.identity, sequence)


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
            yield from _repeated_values(
                context, column, start or _declared_start(sequence), sequence, sequence
            )


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
