"""Predict what a downgrade does to rows, by its trace and probes, and to matching rows of other databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from circle_migrate.config.relation import ColumnReference, Relation, Side
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.bounded_read import QueryError, open_live_query
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.postgres.key_column import KeyColumn, find_column
from circle_migrate.safety.live_database.catalog import object_usage
from circle_migrate.safety.live_database.probes import derive_probes
from circle_migrate.safety.live_database.query import run_probes
from circle_migrate.safety.live_database.record import Answer, ProbeKind
from circle_migrate.safety.live_database.type_change import OWN_EXPRESSION
from circle_migrate.safety.losses.report import Count, Dependents, Effect, Loss, LossNamer, Precision
from circle_migrate.safety.trace.record import Task, TracedStatement

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


async def with_cross_database_rows(
    deployment: Deployment, relations: Sequence[Relation], losses: Sequence[Loss]
) -> tuple[Loss, ...]:
    """Return the losses with the rows of other databases that would be left without a matching row.

    A relation whose other side is lost as well leaves none.
    """
    pairs = list(_unmatched_columns(relations, losses))
    wanted = dict.fromkeys(column for loss, column in pairs if not _is_partial(loss))
    counted: dict[ColumnReference, Dependents] = {}
    for name in dict.fromkeys(column.database for column in wanted):
        columns = [column for column in wanted if column.database == name]
        counted |= await _count_rows(deployment.databases[name], columns)
    dependents: dict[Loss, tuple[Dependents, ...]] = {}
    for loss, column in pairs:
        unknown = Dependents(str(column), why="which rows are deleted is not known")
        rows = unknown if _is_partial(loss) else counted[column]
        dependents[loss] = (*dependents.get(loss, ()), rows)
    return tuple(replace(loss, dependents=dependents.get(loss, ())) for loss in losses)


def _unmatched_columns(
    relations: Sequence[Relation], losses: Sequence[Loss]
) -> Iterator[tuple[Loss, ColumnReference]]:
    """Yield losses with the column whose rows would be left without a matching row."""
    for relation in relations:
        for side in Side:
            column, matching = relation.columns[side], relation.columns[side.other]
            if not any(_is_loss_of(loss, matching) for loss in losses):
                destroyed = (loss for loss in losses if loss.destroys_data and _is_loss_of(loss, column))
                yield from ((loss, matching) for loss in destroyed)


def _is_loss_of(loss: Loss, column: ColumnReference) -> bool:
    """Return whether a loss is of a column, or of rows of its table."""
    if loss.effect not in (Effect.DROPPED, Effect.DELETED) or loss.kind not in ("table", "column"):
        return False
    names = tuple(filter(None, (column.schema, column.table, column.name if loss.kind == "column" else "")))
    identity = tuple(map(unquote_and_fold, split_identity(loss.identity)))
    return loss.database == column.database and identity[-len(names) :] == names


def _is_partial(loss: Loss) -> bool:
    return loss.effect is Effect.DELETED and loss.detail != TRUNCATED


async def _count_rows(
    database: Database, columns: Sequence[ColumnReference]
) -> dict[ColumnReference, Dependents]:
    """Count the rows of each column over one connection."""
    counted: dict[ColumnReference, Dependents] = {}
    try:
        async with open_live_query(database) as live:
            for column in columns:
                try:
                    key = await find_column(live.connection, column)
                    if not isinstance(key, KeyColumn):
                        counted[column] = Dependents(str(column), why=str(key))
                        continue
                    [row] = await live.rows(f"SELECT count({key.name}) AS rows FROM {key.relation}")  # noqa: S608
                    counted[column] = Dependents(str(column), Count(row["rows"]))
                except (MigrateError, QueryError) as error:
                    counted[column] = Dependents(str(column), why=str(error))
    except MigrateError as error:
        unread = (column for column in columns if column not in counted)
        counted |= {column: Dependents(str(column), why=str(error)) for column in unread}
    return counted
