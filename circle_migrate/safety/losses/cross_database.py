"""Count the rows that match lost rows of another database, by the declared relations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.config.relation import ColumnReference, Relation, Side
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.bounded_read import QueryError, open_live_query
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.postgres.key_column import KeyColumn, find_column
from circle_migrate.safety.losses.predict import TRUNCATED
from circle_migrate.safety.losses.report import Count, Dependents, Effect, Loss

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment


async def with_cross_database_rows(
    deployment: Deployment, relations: Sequence[Relation], losses: Sequence[Loss]
) -> tuple[Loss, ...]:
    """Return the losses with the rows of other databases that would be left without a matching row.

    A relation whose other side is lost as well leaves none.
    """
    dependents: dict[Loss, tuple[Dependents, ...]] = {}
    counted: dict[ColumnReference, Dependents] = {}
    for loss, column in _unmatched_columns(relations, losses):
        if loss.effect is Effect.DELETED and loss.detail != TRUNCATED:
            rows = Dependents(str(column), why="which rows are deleted is not known")
        else:
            if column not in counted:
                counted[column] = await _count_rows(deployment, column)
            rows = counted[column]
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


async def _count_rows(deployment: Deployment, column: ColumnReference) -> Dependents:
    database = deployment.databases[column.database]
    try:
        async with database.reading() as connection:
            key = await find_column(connection, column)
        if not isinstance(key, KeyColumn):
            return Dependents(str(column), why=str(key))
        async with open_live_query(database) as live:
            [row] = await live.rows(f"SELECT count({key.name}) AS rows FROM {key.relation}")  # noqa: S608
    except (MigrateError, QueryError) as error:
        return Dependents(str(column), why=str(error))
    return Dependents(str(column), Count(row["rows"]))
