"""Sequences that would yield what their column has already: restarted ones, and new ones for old columns.

A restart leaves no trace in the catalogue, as the last value is a row of the sequence; the statement's text
has to say it. Only constant numbers are read from it: `setval` to a maximum that is computed is a remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import IDENTIFIER, literal, split_identity, unquote_and_fold
from circle_migrate.safety.live_database.question import ProbeContext, Question
from circle_migrate.safety.live_database.record import Column, ProbeKind
from circle_migrate.safety.live_database.renames import STORING, NoLiveName, column_of

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
_MATTERS = frozenset({"start", "increment", "minimum", "maximum", "type"})


def sequence_questions(situation: ProbeContext) -> Iterator[Question]:
    """The questions of what a statement does to sequences and to the columns they feed."""
    for change in situation.done.of(Op.CHANGED, "column"):
        if change.owner is not None and change.owner.kind in STORING:
            yield from _newly_fed(change, situation)
    for change in situation.done.of(Op.CHANGED, "sequence"):
        if not _MATTERS.isdisjoint(change.fields):
            yield from _of_sequence(change.key.identity, _next_of(change.key.identity), situation)
            yield from _out_of_bounds(change, situation)
    yield from _restarted(situation)


def _out_of_bounds(change: Change, situation: ProbeContext) -> Iterator[Question]:
    """Whether the sequence has gone further than its new bounds, which PostgreSQL refuses then (22023)."""
    bounds = (("maximum", ">"), ("minimum", "<"))
    beyond = [f"last_value {sign} {change.fields[name][1]}" for name, sign in bounds if name in change.fields]
    sequence = change.key.identity
    if beyond:
        yield from situation.about(ProbeKind.VIOLATIONS, sequence, sequence, " OR ".join(beyond))


def _newly_fed(change: Change, situation: ProbeContext) -> Iterator[Question]:
    """A column that becomes an identity, or takes its default from another sequence than before."""
    column = column_of(change)
    identity = change.fields.get("identity", ("", None))
    if identity[0] is None and identity[1] is not None:
        yield from _ahead(situation, column, _first(identity[1]), change.key.identity)
    default = _NEXT.search(change.fields.get("default", (None, None))[1] or "")
    if default is not None and not situation.done.renames:
        sequence = default["sequence"].replace("''", "'")
        start = situation.starts.get(sequence, _next_of(sequence))
        yield from _ahead(situation, column, start, change.key.identity, sequence)


def _first(identity: str) -> str:
    """The first value of an identity column, of which only what is not usual is printed."""
    said = dict(re.findall(r"^(START WITH|MINVALUE) (-?\d+)$", identity, re.MULTILINE))
    return said.get("START WITH") or said.get("MINVALUE") or "1"


def _next_of(sequence: str) -> str:
    return f"(SELECT last_value + is_called::int FROM {sequence})"


def _restarted(situation: ProbeContext) -> Iterator[Question]:
    sql = situation.done.statement.sql
    for match in _IDENTITY_RESTARTED.finditer(sql):
        table, name = _plain(match["table"]), unquote_and_fold(match["column"])
        for sequence, column in (situation.uses.sequences if situation.uses else {}).items():
            if _named(column.relation, table) and unquote_and_fold(column.name) == name:
                yield from _ahead(
                    situation, column, match["start"] or _declared(sequence), sequence, sequence
                )
    for match in (*_RESTARTED.finditer(sql), *_SET.finditer(sql)):
        start = match["start"]
        if match.re is _SET and (match["called"] or "true").lower() == "true":
            start = str(int(start) + 1)
        yield from _of_sequence(match["sequence"], start, situation)


def _of_sequence(name: str, start: str | None, situation: ProbeContext) -> Iterator[Question]:
    """The question for the column that a sequence feeds, by what live says.

    Without a `start` the sequence begins where it is declared to.
    """
    if situation.uses is None:
        yield Question(ProbeKind.BEHIND, name, name, unknown="which column the sequence feeds is not known")
        return
    for sequence, column in situation.uses.sequences.items():
        if _named(sequence, _plain(name)):
            yield from _ahead(situation, column, start or _declared(sequence), sequence, sequence)


def _ahead(
    situation: ProbeContext, column: Column, start: str, subject: str, *sequences: str
) -> Iterator[Question]:
    """Values of a column that the sequence, beginning at `start`, would yield again."""
    live = situation.after.column(*column)
    condition = live if isinstance(live, NoLiveName) else f"{live} >= {start}"
    for question in situation.about(ProbeKind.BEHIND, column.relation, subject, condition):
        yield replace(question, related=sequences)


def _declared(sequence: str) -> str:
    """Where a sequence begins that is restarted without a number."""
    return f"(SELECT seqstart FROM pg_catalog.pg_sequence WHERE seqrelid = {literal(sequence)}::regclass)"


def _plain(name: str) -> tuple[str, ...]:
    return tuple(unquote_and_fold(each.strip()) for each in split_identity(name) if each.strip())


def _named(printed: str, wanted: tuple[str, ...]) -> bool:
    """Whether a printed name is the one wanted, which may leave out the schema."""
    return tuple(unquote_and_fold(each) for each in split_identity(printed))[-len(wanted) :] == wanted
