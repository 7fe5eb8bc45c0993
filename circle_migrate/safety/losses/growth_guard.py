"""Refuse a run that would lose more than was accepted, or rows that --keep could not restore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.bounded_read import LiveQuery, QueryError, open_live_query
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.postgres.sql_text import own_name
from circle_migrate.revision_graph.plan import Plan
from circle_migrate.safety.live_database.catalog import NAMED
from circle_migrate.safety.live_database.no_data import databases_with_data
from circle_migrate.safety.losses.describe import quantity
from circle_migrate.safety.losses.find import LossCollector
from circle_migrate.safety.losses.report import Count, Effect, Loss, LossReport, Method, Precision

if TYPE_CHECKING:
    import asyncpg

ESTIMATES_DIFFER = 1.1
"""Factor up to which an estimate that is higher than before is no increase, as two estimates differ."""

_HINT = "stop the application that writes there, then run the command again to see the losses"

_KEYS = f"""
SELECT name, ARRAY(SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
                       ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
                   WHERE i.indrelid = named.oid AND i.indisprimary)::text[] AS columns
FROM ({NAMED}) named WHERE relkind IN ('r', 'p') AND name = ANY ($1)
"""


def increased_losses(accepted: Iterable[Loss], now: Iterable[Loss]) -> Iterator[tuple[Loss | None, Loss]]:
    """Yield the losses that were not accepted, or were accepted with a lower count: as accepted and as now.

    An unknown count was accepted as any number. A count that was known and is unknown now may be higher.
    """
    known = {loss.key: loss for loss in accepted if loss.destroys_data}
    for loss in now:
        before = known.get(loss.key)
        if loss.destroys_data and (before is None or _may_exceed(_amount(loss), _amount(before))):
            yield before, loss


def _amount(loss: Loss) -> Count | None:
    """Return the number of lost values of a dropped column, of rows for any other loss."""
    return loss.non_null if _is_dropped_column(loss) else loss.rows


def _is_dropped_column(loss: Loss) -> bool:
    return (loss.effect, loss.kind) == (Effect.DROPPED, "column")


def _may_exceed(now: Count | None, before: Count | None) -> bool:
    if before is None or before.precision is Precision.AT_LEAST:
        return False
    if now is None:
        return True
    estimated = Precision.ESTIMATED in (before.precision, now.precision)
    return now.value > before.value * (ESTIMATES_DIFFER if estimated else 1)


class GrowthHooks(Hooks):
    """Hooks that stop a run which would lose more than was accepted."""

    def __init__(self, collector: LossCollector, accepted: LossReport) -> None:
        self._collector = collector
        self._accepted = accepted

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Count again. Raises `Refused` where a loss has increased, and what connecting raises."""
        from circle_migrate.safety.losses.count import recount

        if Method.NO_DATA in self._accepted.found_by:
            databases = [run.deployment.databases[name] for name in plan.databases]
            for name in await databases_with_data(databases):
                raise Refused(
                    f"{name} had no data when the losses were sought, but has some now",
                    database=name,
                    hint=_HINT,
                )
            return
        now = await recount(run.deployment, self._collector)
        increases = tuple(increased_losses(self._accepted.losses, now))
        if increases:
            names = ", ".join(now.name for _, now in increases)
            texts = (
                f"{now.name}: {_describe(before)} accepted, {_describe(now)} now" for before, now in increases
            )
            raise Refused(
                f"more data would be lost than was accepted: {names}",
                database=increases[0][1].database,
                detail="; ".join(texts),
                hint=_HINT,
            )


def _describe(loss: Loss | None) -> str:
    if loss is None:
        return "nothing"
    count = _amount(loss)
    unknown = f" ({loss.unknown})" if count is None and loss.unknown else ""
    return f"{quantity(count, 'value' if _is_dropped_column(loss) else 'row')}{unknown}"


async def ensure_restorable(deployment: Deployment, report: LossReport) -> None:
    """Raise `Refused` where values or rows are lost in a remaining table without a primary key."""
    for name in report.plan.databases:
        losses = [*_in_remaining_tables(loss for loss in report.destroyed if loss.database == name)]
        if not losses:
            continue
        async with open_live_query(deployment.databases[name]) as live:
            rows = await _rows(name, live, _KEYS, [table for table, _ in losses])
            keys = {row["name"]: row["columns"] for row in rows}
            for table, loss in losses:
                key, reason = keys.get(table), ""
                if key is not None and loss.kind == "column" and own_name(loss.identity) in key:
                    reason = "loses its primary key"
                elif key is not None and not key:
                    reason = "has no primary key"
                # Where the rows were not counted, any row of the table may be lost.
                if reason and (
                    loss.rows is not None or await _rows(name, live, f"SELECT FROM {table} LIMIT 1")
                ):
                    raise Refused(
                        f"--keep cannot restore {loss.name} to the right rows: the table {reason}",
                        database=loss.database,
                        hint="add a primary key to the table, or run without --keep and take a backup",
                    )


async def _rows(name: str, live: LiveQuery, query: str, *arguments: object) -> list[asyncpg.Record]:
    try:
        return await live.rows(query, *arguments)
    except QueryError as error:
        raise Refused(
            f"{name}: whether --keep can restore the lost rows cannot be read",
            database=name,
            detail=f"{error}; in: {' '.join(query.split())[:80]}",
            hint="run the same command again when no session has locked the table, or without --keep",
        ) from error


def _in_remaining_tables(losses: Iterable[Loss]) -> Iterator[tuple[str, Loss]]:
    """Yield the losses of values and rows with their table; a dropped table is one loss, with all of them."""
    for loss in losses:
        match loss.kind, loss.effect:
            case "column", Effect.DROPPED | Effect.NARROWED:
                yield ".".join(split_identity(loss.identity)[:-1]), loss
            case "table", Effect.DELETED | Effect.UPDATED:
                yield loss.identity, loss
