"""Predict what a downgrade does to rows, from the trace of its statements and probes of live rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.live_database.catalog import object_usage
from circle_migrate.safety.live_database.probes import derive_probes
from circle_migrate.safety.live_database.query import run_probes
from circle_migrate.safety.live_database.record import Answer, ProbeKind
from circle_migrate.safety.live_database.type_change import OWN_EXPRESSION
from circle_migrate.safety.losses.report import Count, Effect, Loss, LossNamer, Precision
from circle_migrate.safety.trace.record import Task, TracedStatement

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database

REHEARSE = "only a rehearsal can count the rows (--rehearse)"
"""Why rows that a revision's own statements change are not counted."""

TRUNCATED = "TRUNCATE"
"""The detail of a loss of all rows of a table by TRUNCATE."""

_REPORTED = frozenset(
    (
        ProbeKind.NULLS,
        ProbeKind.DUPLICATES,
        ProbeKind.ORPHANS,
        ProbeKind.VIOLATIONS,
        ProbeKind.UNCASTABLE,
        ProbeKind.TOO_LONG,
        ProbeKind.CUT,
    )
)
_WRITING = {Task.DELETE: Effect.DELETED, Task.UPDATE: Effect.UPDATED, Task.TRUNCATE: Effect.DELETED}


def predict_row_losses(
    namers: Mapping[str, LossNamer], statements: Sequence[TracedStatement]
) -> Iterator[Loss]:
    """Yield the tables whose rows these statements delete or change, once per revision."""
    writes = {
        (statement.database, work.relation, _WRITING[work.task], statement.revision, work.task)
        for statement in statements
        for work in statement.work
        if work.task in _WRITING and work.relation not in statement.created_relations
    }
    for database, relation, effect, revision, task in sorted(writes):
        detail, unknown = (TRUNCATED, "") if task is Task.TRUNCATE else ("", REHEARSE)
        loss = namers[database].loss(ObjectKey("table", relation), effect, revision, detail)
        yield replace(loss, unknown=unknown)


async def predict_value_losses(
    databases: Mapping[str, Database], namers: Mapping[str, LossNamer], statements: Sequence[TracedStatement]
) -> list[Loss]:
    """Return the values that these statements would alter and the rows that constraints would reject.

    Raises what connecting raises.
    """
    usage = {name: await object_usage(database) for name, database in databases.items()}
    reported = [
        # Truncated values are counted as they are now, even if the revision changes rows before.
        replace(probe, fixed_by="") if probe.kind is ProbeKind.CUT else probe
        for probe in derive_probes(statements, usage)
        if probe.kind in _REPORTED
    ]
    losses: list[Loss] = []
    for name, database in databases.items():
        answers = await run_probes(database, [probe for probe in reported if probe.database == name])
        losses += (
            _loss(namers[name], answer, statements[answer.probe.statement])
            for answer in answers
            # Rows that the revision changes before are already a loss by its own statements.
            if answer.count != 0 and not answer.probe.fixed_by
        )
    return losses


def _loss(namer: LossNamer, answer: Answer, statement: TracedStatement) -> Loss:
    probe = answer.probe
    change = next((change for change in statement.changes if change.key.identity == probe.subject), None)
    kind = change.key.kind if change else "column"
    identity = f"{probe.relation}.{split_identity(probe.subject)[-1]}" if kind == "column" else probe.subject
    altered = probe.kind is ProbeKind.CUT or answer.why == OWN_EXPRESSION
    old, new = change.fields.get("type", (None, None)) if change else (None, None)
    types = f"type: {old} -> {new}" if kind == "column" and old and new else ""
    loss = namer.loss(
        ObjectKey(kind, identity),
        Effect.NARROWED if altered else Effect.REJECTED,
        revision=statement.revision,
        detail=", ".join(filter(None, (types, "" if altered else str(probe.kind)))),
    )
    if answer.count is None:
        return replace(loss, unknown=answer.why)
    precision = Precision.AT_LEAST if answer.more else Precision.EXACT
    return replace(loss, rows=Count(answer.count, precision))
