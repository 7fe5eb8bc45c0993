"""Predict what a downgrade does to rows, from the trace of its statements and probes of live rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.catalog import object_usage
from circle_migrate.safety.live_database.probes import probes
from circle_migrate.safety.live_database.query import run_probes
from circle_migrate.safety.live_database.record import Answer, Probe, ProbeKind
from circle_migrate.safety.live_database.type_change import OWN_EXPRESSION
from circle_migrate.safety.losses.report import Count, Effect, Loss, LossNamer, Precision
from circle_migrate.safety.trace.record import Task, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database

REHEARSE = "how many, only a rehearsal can tell: --rehearse"
"""Why rows that a revision's own statements change are not counted."""

_IN_THE_WAY = (
    ProbeKind.NULLS,
    ProbeKind.DUPLICATES,
    ProbeKind.ORPHANS,
    ProbeKind.VIOLATIONS,
    ProbeKind.UNCASTABLE,
    ProbeKind.TOO_LONG,
)
_ASKED = frozenset({*_IN_THE_WAY, ProbeKind.CUT})
_WRITING = {Task.DELETE: Effect.DELETED, Task.UPDATE: Effect.UPDATED, Task.TRUNCATE: Effect.DELETED}
TRUNCATED = "TRUNCATE"
"""What is said of a table that a statement empties as a whole."""


def predict_row_losses(
    namers: Mapping[str, LossNamer], statements: Sequence[TracedStatement]
) -> Iterator[Loss]:
    """Yield the tables whose rows these statements delete or change, once for each revision."""
    writes = {
        (statement.database, work.relation, _WRITING[work.task], statement.revision, work.task)
        for statement in statements
        for work in statement.work
        if work.task in _WRITING and work.relation not in statement.created_relations
    }
    for database, relation, effect, revision, task in sorted(writes):
        truncated = task is Task.TRUNCATE
        loss = namers[database].loss(
            ObjectKey("table", relation), effect, revision, TRUNCATED if truncated else ""
        )
        yield replace(loss, unknown="" if truncated else REHEARSE)


async def predict_value_losses(
    databases: Mapping[str, Database], namers: Mapping[str, LossNamer], statements: Sequence[TracedStatement]
) -> list[Loss]:
    """Return the values that would be altered and the rows in the way, were these statements run now.

    Raises what connecting raises.
    """
    known = {name: await object_usage(database) for name, database in databases.items()}
    questions = [_as_now(probe) for probe in probes(statements, known) if probe.kind in _ASKED]
    losses: list[Loss] = []
    for name, database in databases.items():
        answers = await run_probes(database, [probe for probe in questions if probe.database == name])
        losses += (
            _loss(namers[name], answer, statements[answer.probe.statement])
            for answer in answers
            # Rows that the revision changes before are already a loss of its own statements.
            if answer.count != 0 and not answer.probe.fixed_by
        )
    return losses


def _as_now(probe: Probe) -> Probe:
    """Values that would be cut are counted as they are, also where the revision changes rows before."""
    return replace(probe, fixed_by="") if probe.kind is ProbeKind.CUT else probe


def _loss(namer: LossNamer, answer: Answer, statement: TracedStatement) -> Loss:
    probe = answer.probe
    change = next((each for each in statement.changes if each.key.identity == probe.subject), None)
    kind = change.key.kind if change else "column"
    identity = f"{probe.relation}.{split_identity(probe.subject)[-1]}" if kind == "column" else probe.subject
    altered = probe.kind is ProbeKind.CUT or answer.why == OWN_EXPRESSION
    old, new = change.fields.get("type", (None, None)) if change else (None, None)
    retyped = f"type: {old} -> {new}" if kind == "column" and old and new else ""
    loss = namer.loss(
        ObjectKey(kind, identity),
        Effect.NARROWED if altered else Effect.REJECTED,
        revision=statement.revision,
        detail=", ".join(filter(None, (retyped, "" if altered else str(probe.kind)))),
    )
    if answer.count is None:
        return replace(loss, unknown=answer.why)
    precision = Precision.AT_LEAST if answer.more else Precision.EXACT
    return replace(loss, rows=Count(answer.count, precision))
