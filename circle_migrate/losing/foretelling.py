"""What a downgrade would do to rows, from the trace of its statements and questions to the live databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.core.catalog import Key
from circle_migrate.core.identifier import split_identity
from circle_migrate.core.live import Answer, Ask, Probe
from circle_migrate.core.losses import Count, Effect, Loss, Precision
from circle_migrate.core.traces import Task, Traced
from circle_migrate.live_facts import ask, probes, uses
from circle_migrate.live_facts.conversions import OWN_EXPRESSION
from circle_migrate.losing.listing import Names

if TYPE_CHECKING:
    from circle_migrate.database import Database

REHEARSE = "how many, only a rehearsal can tell: --rehearse"
"""Why rows that a revision's own statements change are not counted."""

_IN_THE_WAY = (Ask.NULLS, Ask.DUPLICATES, Ask.ORPHANS, Ask.VIOLATIONS, Ask.UNCASTABLE, Ask.TOO_LONG)
_ASKED = frozenset({*_IN_THE_WAY, Ask.CUT})
_WRITING = {Task.DELETE: Effect.DELETED, Task.UPDATE: Effect.UPDATED, Task.TRUNCATE: Effect.DELETED}
TRUNCATED = "TRUNCATE"
"""What is said of a table that a statement empties as a whole."""


def written(names: Mapping[str, Names], statements: Sequence[Traced]) -> Iterator[Loss]:
    """The tables whose rows these statements delete or change themselves, each once for a revision."""
    found = {
        (statement.database, work.relation, _WRITING[work.task], statement.revision, work.task)
        for statement in statements
        for work in statement.work
        if work.task in _WRITING and work.relation not in statement.born
    }
    for database, relation, effect, revision, task in sorted(found):
        loss = names[database].loss(Key("table", relation), effect, revision=revision)
        everything = task is Task.TRUNCATE
        yield replace(loss, detail=TRUNCATED if everything else "", unknown="" if everything else REHEARSE)


async def foretold(
    databases: Mapping[str, Database], names: Mapping[str, Names], statements: Sequence[Traced]
) -> tuple[Loss, ...]:
    """Values that would be cut and rows that would be in the way, were these statements run on live rows.

    Raises what connecting raises.
    """
    known = {name: await uses(database) for name, database in databases.items()}
    questions = [_as_now(each) for each in probes(statements, known) if each.ask in _ASKED]
    found: list[Loss] = []
    for name, database in databases.items():
        answers = await ask(database, [each for each in questions if each.database == name])
        found += (
            _told(names[name], each, statements[each.probe.statement])
            for each in answers
            # What the revision itself mends before is among its own statements.
            if each.count != 0 and not each.probe.mended_by
        )
    return tuple(found)


def _as_now(probe: Probe) -> Probe:
    """Values that would be cut are counted as they are, also where the revision changes rows before."""
    return replace(probe, mended_by="") if probe.ask is Ask.CUT else probe


def _told(names: Names, answer: Answer, statement: Traced) -> Loss:
    probe = answer.probe
    change = next((each for each in statement.changes if each.key.identity == probe.subject), None)
    kind = change.key.kind if change else "column"
    identity = f"{probe.relation}.{split_identity(probe.subject)[-1]}" if kind == "column" else probe.subject
    altered = probe.ask is Ask.CUT or answer.why == OWN_EXPRESSION
    old, new = change.fields.get("type", (None, None)) if change else (None, None)
    retyped = f"type: {old} -> {new}" if kind == "column" and old and new else ""
    loss = names.loss(
        Key(kind, identity),
        Effect.NARROWED if altered else Effect.REJECTED,
        revision=statement.revision,
        detail=", ".join(filter(None, (retyped, "" if altered else str(probe.ask)))),
    )
    if answer.count is None:
        return replace(loss, unknown=answer.why)
    precision = Precision.AT_LEAST if answer.more else Precision.EXACT
    return replace(loss, rows=Count(answer.count, precision))
