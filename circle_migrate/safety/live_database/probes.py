"""The questions that a plan raises about live rows, derived from what its statements did to a catalogue.

Every query counts up to LIMIT rows and one more, so that a table full of them costs no more than a few; a
table without any is read to its end or to the time limit of `ask`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from circle_migrate.postgres.catalog.enum_labels import labels
from circle_migrate.postgres.catalog.snapshot import Op
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.safety.live_database.column import column_questions
from circle_migrate.safety.live_database.constraint import constraint_questions
from circle_migrate.safety.live_database.question import ProbeContext, Question
from circle_migrate.safety.live_database.record import ObjectUsage, Probe, ProbeKind
from circle_migrate.safety.live_database.renames import LiveNames, StatementRenames
from circle_migrate.safety.live_database.sequence import sequence_questions
from circle_migrate.safety.trace.record import Lock, Task, TracedStatement

_WRITING = frozenset({Task.INSERT, Task.UPDATE, Task.DELETE, Task.TRUNCATE})
_CAN_WRITE = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|WITH|DO|CALL|SELECT)\b", re.IGNORECASE
)
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE)\b", re.IGNORECASE)
_SETS_SEQUENCE = re.compile(r"\b(?:setval\s*\(|RESTART\b)", re.IGNORECASE)

_LOST = frozenset({ProbeKind.ROWS, ProbeKind.VALUES})
"""What earlier statements do not mend: what they change is gone as well."""


def probes(
    statements: Sequence[TracedStatement], uses: Mapping[str, ObjectUsage] | None = None
) -> tuple[Probe, ...]:
    """What to ask the live databases before these statements run there, in the order of a plan.

    `uses` has, by database, what only its catalogue says; what would need it is unknown without. What the
    plan itself makes is not asked about, and what it renames is asked about by its live name.
    """
    probes: list[Probe] = []
    for index, situation in enumerate(_situations(statements, uses or {})):
        for questions in (column_questions, constraint_questions, sequence_questions):
            probes += (_probe(question, statements, index) for question in questions(situation))
    return tuple(dict.fromkeys(probes))


def _situations(
    statements: Sequence[TracedStatement], uses: Mapping[str, ObjectUsage]
) -> Iterator[ProbeContext]:
    """What each statement finds: the names and types that the ones before it in its database have left."""
    last: dict[str, ProbeContext] = {}
    for statement in statements:
        name = statement.database
        before = last[name].after if name in last else LiveNames()
        done = StatementRenames(statement)
        enums = {**(last[name].labels if name in last else {}), **dict(_labels(done))}
        starts = {**(last[name].starts if name in last else {}), **dict(_starts(done))}
        last[name] = ProbeContext(done, before, before.after(done), enums, starts, uses.get(name))
        yield last[name]


def _labels(done: StatementRenames) -> Iterator[tuple[str, tuple[str, ...]]]:
    for op in (Op.ADDED, Op.CHANGED):
        for change in done.of(op, "enum"):
            field = change.fields.get("labels", (None, None))[1]
            if field is not None:
                yield change.key.identity, tuple(labels(field))


def _starts(done: StatementRenames) -> Iterator[tuple[str, str]]:
    for change in () if done.renames else done.of(Op.ADDED, "sequence"):
        yield change.key.identity, change.fields["start"][1] or "1"


def _probe(question: Question, statements: Sequence[TracedStatement], index: int) -> Probe:
    mended_by = ""
    if question.kind is ProbeKind.BEHIND:
        restarted = question.subject in question.related
        names = (question.relation, *question.related)
        mended_by = _sequence_fixed_by(statements, index, names, earlier=not restarted)
    elif question.kind not in _LOST:
        mended_by = _fixed_by(statements, index, question.related)
    return Probe(
        question.kind,
        question.relation,
        question.subject,
        question.query,
        statements[index].database,
        index,
        question.unknown,
        mended_by,
    )


def _fixed_by(statements: Sequence[TracedStatement], index: int, names: Sequence[str]) -> str:
    """Return the last revision up to `index` that changes rows of one of these relations, or nothing.

    A lock or work of the trace proves it; the text has to do where a stronger lock was held already.
    """
    for statement in reversed(statements[: index + 1]):
        ours = statement.database == statements[index].database
        if ours and any(_writes(statement, name) for name in names):
            return statement.revision
    return ""


def _sequence_fixed_by(
    statements: Sequence[TracedStatement], index: int, names: Sequence[str], *, earlier: bool
) -> str:
    """Return the revision of another statement that sets one of these sequences, `earlier` ones too."""
    for number, statement in enumerate(statements):
        others = number > index or (earlier and number < index)
        ours = others and statement.database == statements[index].database
        if ours and _SETS_SEQUENCE.search(statement.sql) and any(_says(statement, name) for name in names):
            return statement.revision
    return ""


def _writes(statement: TracedStatement, relation: str) -> bool:
    if any(work.task in _WRITING and work.relation == relation for work in statement.work):
        return True
    if statement.acquired.get(relation) is Lock.RowExclusive:
        return True
    can = _CAN_WRITE.match(statement.sql) and _WRITES.search(statement.sql)
    return bool(can) and _says(statement, relation)


def _says(statement: TracedStatement, relation: str) -> bool:
    """Whether the text has the relation's own name as a word."""
    name = re.escape(unquote_and_fold(split_identity(relation)[-1]))
    return re.search(rf"(?<!\w){name}(?!\w)", statement.sql, re.IGNORECASE) is not None
