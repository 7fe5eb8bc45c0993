"""The questions that a plan raises about live rows, derived from what its statements did to a catalogue.

Every query counts up to LIMIT rows and one more, so that a table full of them costs no more than a few; a
table without any is read to its end or to the time limit of `ask`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from circle_migrate.core.catalog import Op
from circle_migrate.core.enumerations import labels
from circle_migrate.core.live import Ask, Probe, Uses
from circle_migrate.core.traces import Traced
from circle_migrate.live_facts.columns import column_questions
from circle_migrate.live_facts.constraints import constraint_questions
from circle_migrate.live_facts.lineage import Alterations, Lineage
from circle_migrate.live_facts.question import Question, Situation
from circle_migrate.live_facts.sequences import sequence_questions
from circle_migrate.live_facts.writers import mending, sequence_mending

_LOST = frozenset({Ask.ROWS, Ask.VALUES})
"""What earlier statements do not mend: what they change is gone as well."""


def probes(statements: Sequence[Traced], uses: Mapping[str, Uses] | None = None) -> tuple[Probe, ...]:
    """What to ask the live databases before these statements run there, in the order of a plan.

    `uses` has, by database, what only its catalogue says; what would need it is unknown without. What the
    plan itself makes is not asked about, and what it renames is asked about by its live name.
    """
    found: list[Probe] = []
    for index, situation in enumerate(_situations(statements, uses or {})):
        for questions in (column_questions, constraint_questions, sequence_questions):
            found += (_probe(each, statements, index) for each in questions(situation))
    return tuple(dict.fromkeys(found))


def _situations(statements: Sequence[Traced], uses: Mapping[str, Uses]) -> Iterator[Situation]:
    """What each statement finds: the names and types that the ones before it in its database have left."""
    last: dict[str, Situation] = {}
    for statement in statements:
        name = statement.database
        before = last[name].after if name in last else Lineage()
        done = Alterations(statement)
        enums = {**(last[name].labels if name in last else {}), **dict(_labels(done))}
        starts = {**(last[name].starts if name in last else {}), **dict(_starts(done))}
        last[name] = Situation(done, before, before.after(done), enums, starts, uses.get(name))
        yield last[name]


def _labels(done: Alterations) -> Iterator[tuple[str, tuple[str, ...]]]:
    for op in (Op.EXTRA, Op.CHANGED):
        for change in done.of(op, "enum"):
            field = change.fields.get("labels", (None, None))[1]
            if field is not None:
                yield change.key.identity, tuple(labels(field))


def _starts(done: Alterations) -> Iterator[tuple[str, str]]:
    for change in () if done.renames else done.of(Op.EXTRA, "sequence"):
        yield change.key.identity, change.fields["start"][1] or "1"


def _probe(question: Question, statements: Sequence[Traced], index: int) -> Probe:
    mended_by = ""
    if question.ask is Ask.BEHIND:
        restarted = question.subject in question.related
        names = (question.relation, *question.related)
        mended_by = sequence_mending(statements, index, names, earlier=not restarted)
    elif question.ask not in _LOST:
        mended_by = mending(statements, index, question.related)
    return Probe(
        question.ask,
        question.relation,
        question.subject,
        question.query,
        statements[index].database,
        index,
        question.unknown,
        mended_by,
    )
