"""Rows of one database that belong to what goes from another, by the relations that are declared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.config.relation import Column, Relation, Side
from circle_migrate.core.errors import MigrateError
from circle_migrate.postgres.bounded_read import UnansweredError, open_live_query
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.postgres.key_column import KeyColumn, locate
from circle_migrate.safety.losses.predict import TRUNCATED
from circle_migrate.safety.losses.report import Count, Dependents, Effect, Loss

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment

_TAKING = (Effect.DROPPED, Effect.DELETED)


async def with_cross_database_rows(
    deployment: Deployment, relations: Sequence[Relation], losses: Sequence[Loss]
) -> tuple[Loss, ...]:
    """The losses, each with the rows of other databases that it leaves alone.

    A side whose own keys go as well has nothing left to be alone.
    """
    found: dict[Loss, tuple[Dependents, ...]] = {}
    known: dict[Column, Dependents] = {}
    for loss, other in _left_alone(relations, losses):
        if loss.effect is Effect.DELETED and loss.detail != TRUNCATED:
            found[loss] = (*found.get(loss, ()), Dependents(str(other), why="which rows go is not known"))
            continue
        if other not in known:
            known[other] = await _counted(deployment, other)
        found[loss] = (*found.get(loss, ()), known[other])
    return tuple(replace(each, dependents=found.get(each, ())) for each in losses)


def _left_alone(relations: Sequence[Relation], losses: Sequence[Loss]) -> Iterator[tuple[Loss, Column]]:
    for relation in relations:
        for side in Side:
            mine, other = relation.columns[side], relation.columns[side.other]
            if any(_takes(loss, other) for loss in losses):
                continue
            yield from ((loss, other) for loss in losses if loss.destroys_data and _takes(loss, mine))


def _takes(loss: Loss, column: Column) -> bool:
    """Whether a loss is of a column, or of rows of its table."""
    if loss.database != column.database or loss.effect not in _TAKING:
        return False
    named = tuple(unquote_and_fold(each) for each in split_identity(loss.identity))
    table = (column.schema, column.table) if column.schema else (column.table,)
    wanted: Mapping[str, Collection[str]] = {"table": table, "column": (*table, column.name)}
    return loss.kind in wanted and named[-len(wanted[loss.kind]) :] == tuple(wanted[loss.kind])


async def _counted(deployment: Deployment, column: Column) -> Dependents:
    database = deployment.databases[column.database]
    try:
        async with database.reading() as connection:
            place = await locate(connection, column)
        if not isinstance(place, KeyColumn):
            return Dependents(str(column), why=str(place))
        async with open_live_query(database) as live:
            [row] = await live.rows(f"SELECT count({place.name}) AS rows FROM {place.relation}")  # noqa: S608
    except (MigrateError, UnansweredError) as error:
        return Dependents(str(column), why=str(error))
    return Dependents(str(column), Count(row["rows"]))
