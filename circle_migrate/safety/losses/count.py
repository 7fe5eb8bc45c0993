"""Count the rows and values of losses: exactly up to a limit, above it by the planner's statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import asyncpg

from circle_migrate.config.object_reference import load_relations
from circle_migrate.core.errors import SettingsError
from circle_migrate.migrate.result import plan_settings
from circle_migrate.postgres.bounded_read import (
    LiveQuery,
    MissingObjectError,
    QueryError,
    QueryTimeoutError,
    open_live_query,
)
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot, label
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal, split_identity, unquote_and_fold
from circle_migrate.safety.live_database.catalog import relation_sizes
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.losses import predict
from circle_migrate.safety.losses.find import LossCollector
from circle_migrate.safety.losses.report import Count, Effect, Loss, LossReport, Precision, merge, sort_key

EXACT_ROWS = 1_000_000
"""Rows of a table up to which its values are counted; larger tables are estimated from statistics."""

_WRITE_TIMES = ("updated_at", "modified_at", "changed_at", "last_modified", "created_at", "inserted_at")
"""Columns that say when a row was written. In a table without any, all timestamps are used."""

_TABLES = ("table", "materialized view")
_NO_EQUALITY = "42883"

# Statistics of a partitioned table are those over its partitions.
_STATISTICS = """
SELECT null_frac::float8 AS nulls, n_distinct::float8 AS distinct, avg_width AS width
FROM pg_catalog.pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3
ORDER BY inherited DESC LIMIT 1
"""


async def loss_report(deployment: Deployment, collector: LossCollector) -> LossReport:
    """Report the losses of the plan, counted in the live databases. Raises what connecting raises."""
    plan, notes = collector.plan, list(collector.notes)
    losses = await recount(deployment, collector)
    try:
        if losses and (relations := load_relations(deployment.settings)):
            losses = await predict.with_cross_database_rows(deployment, relations, losses)
    except SettingsError as error:
        notes.append(f"related rows of other databases were not counted: {error.message}")
    return LossReport(
        "downgrade",
        plan,
        losses=tuple(sorted(losses, key=lambda loss: (plan.databases.index(loss.database), *sort_key(loss)))),
        found_by=tuple(collector.methods),
        taken_at=datetime.now(UTC),
        failures=tuple(collector.failures),
        not_rehearsed=collector.skipped,
        notes=tuple(dict.fromkeys(notes)),
        **plan_settings(deployment),
    )


async def recount(deployment: Deployment, collector: LossCollector) -> tuple[Loss, ...]:
    """Count losses now, or as rehearsed, without rows of other databases. Raises what connecting raises."""
    databases = {name: deployment.databases[name] for name in collector.plan.databases}
    namers, statements = collector.namers, collector.statements
    predicted = [
        _with_rehearsed_count(loss, collector.altered)
        for loss in await predict.predict_value_losses(databases, namers, statements)
    ]
    known = {(loss.database, loss.kind, loss.identity) for loss in predicted}
    losses = [
        loss
        for loss in merge(collector.losses, predict.predict_row_losses(namers, statements))
        if loss.effect is not Effect.CHANGED or (loss.database, loss.kind, loss.identity) not in known
    ]
    losses = _without_dropped_columns(merge(losses, predicted))
    counted: list[Loss] = []
    for name, database in databases.items():
        if of_database := [loss for loss in losses if loss.database == name]:
            counted += await _count(database, of_database, collector.before[name])
    return tuple(counted)


def _with_rehearsed_count(loss: Loss, altered: Mapping[tuple[str, str], int]) -> Loss:
    """Add the number of altered values from the rehearsal, where probes could not count them."""
    number = altered.get((loss.database, loss.identity))
    if number is None or loss.effect is not Effect.NARROWED or loss.rows is not None:
        return loss
    return replace(loss, rows=Count(number), unknown="")


def _without_dropped_columns(losses: Sequence[Loss]) -> list[Loss]:
    """Leave out changes of columns whose table is dropped."""
    dropped = (loss for loss in losses if (loss.kind, loss.effect) == ("table", Effect.DROPPED))
    tables = {(loss.database, loss.identity) for loss in dropped}
    return [
        loss
        for loss in losses
        if loss.kind != "column"
        or loss.effect not in (Effect.NARROWED, Effect.CHANGED)
        or (loss.database, ".".join(split_identity(loss.identity)[:-1])) not in tables
    ]


async def _count(database: Database, losses: Sequence[Loss], before: Snapshot) -> list[Loss]:
    """Count the losses, found in the catalog `before`, of the objects that a database still has."""
    tables = {loss.identity if loss.kind in _TABLES else _table_of(loss, before) for loss in losses}
    known = await relation_sizes(database, filter(None, tables))
    async with open_live_query(database) as live:
        counter = _LossCounter(live, before, known)
        return [counted for loss in losses if (counted := await counter.count(loss)) is not None]


@dataclass(slots=True)
class _LossCounter:
    _live: LiveQuery
    _before: Snapshot
    _sizes: Mapping[str, Size]
    _rows: dict[str, tuple[Count | None, str]] = field(default_factory=dict)

    async def count(self, loss: Loss) -> Loss | None:
        """Return the loss with its counts; None where the live database has no such object."""
        try:
            match loss.effect, loss.kind:
                case ((Effect.DROPPED | Effect.DELETED | Effect.UPDATED), "table" | "materialized view"):
                    loss = await self._table(loss)
                case Effect.DROPPED, "column":
                    loss = await self._dropped_column(loss)
                case Effect.NARROWED, "column":
                    loss = await self._narrowed_column(loss)
                case Effect.DROPPED, "enum value":
                    loss = await self._enum_value(loss)
                case Effect.DROPPED, "sequence":
                    loss = await self._sequence(loss)
        except MissingObjectError:
            return None
        except QueryError as error:
            return replace(loss, unknown=str(error))
        return loss

    async def _select(self, relation: str, aggregates: str, condition: str = "") -> asyncpg.Record:
        """Return aggregates over the rows of a relation that meet a condition."""
        where = f" WHERE {condition}" if condition else ""
        [row] = await self._live.rows(f"SELECT {aggregates} FROM {relation}{where}")  # noqa: S608 - names as SQL
        return row

    async def _table(self, loss: Loss) -> Loss:
        if loss.rows is not None:
            return loss
        size = self._sizes.get(loss.identity)
        rows, unknown = await self._row_count(loss.identity)
        if loss.unknown and rows != Count(0):
            return loss
        newest = await self._newest(loss.identity) if rows and rows.exact and loss.kind == "table" else None
        size_bytes = Count(size.bytes) if size is not None else None
        return replace(loss, rows=rows, bytes=size_bytes, newest=newest, unknown=unknown)

    async def _narrowed_column(self, loss: Loss) -> Loss:
        table = _table_of(loss, self._before)
        rows, _ = await self._row_count(table) if table else (None, "")
        if not table or rows is None or not rows.exact:
            return loss
        row = await self._select(table, f"count({loss.identity[len(table) + 1 :]}) AS non_null")
        return replace(loss, non_null=Count(row["non_null"]))

    async def _dropped_column(self, loss: Loss) -> Loss:
        table = _table_of(loss, self._before)
        if not table:  # The plan itself has given the column this name.
            return loss
        column = loss.identity[len(table) + 1 :]
        rows, unknown = await self._row_count(table)
        loss = replace(loss, rows=rows, unknown=unknown)
        if rows is None or not rows.exact:
            return await self._estimate(loss, table, column)
        try:
            row = await self._count_values(table, column)
        except QueryTimeoutError:
            return await self._estimate(loss, table, column)
        return replace(
            loss,
            non_null=Count(row["non_null"]),
            distinct=Count(row["distinct"]),
            bytes=Count(row["bytes"]),
            newest=await self._newest(table, f"{column} IS NOT NULL"),
        )

    async def _count_values(self, table: str, column: str) -> asyncpg.Record:
        """Count a column's values; those of a type without equality are compared as text."""
        aggregates = (
            "count({0}) AS non_null, count(DISTINCT {1}) AS distinct, "
            "coalesce(sum(pg_catalog.pg_column_size({0})), 0)::bigint AS bytes"
        )
        try:
            return await self._select(table, aggregates.format(column, column))
        except QueryError as error:
            if error.sqlstate != _NO_EQUALITY:
                raise
        return await self._select(table, aggregates.format(column, f"{column}::text"))

    async def _estimate(self, loss: Loss, table: str, column: str) -> Loss:
        """Estimate from the statistics, which exclude columns that the role may not read."""
        if loss.rows is None:
            return loss
        names = (*split_identity(table), *split_identity(column))
        statistics = await self._live.rows(_STATISTICS, *map(unquote_and_fold, names))
        if not statistics:
            reason = "the table is too large and has no statistics: run ANALYZE"
            return replace(loss, unknown=loss.unknown or reason)
        [row] = statistics
        values = round(loss.rows.value * (1 - row["nulls"]))
        distinct = row["distinct"] if row["distinct"] >= 0 else -row["distinct"] * loss.rows.value
        return replace(
            loss,
            non_null=_estimated(values),
            distinct=_estimated(min(values, round(distinct))),
            bytes=_estimated(values * row["width"]),
        )

    async def _row_count(self, table: str) -> tuple[Count | None, str]:
        """Return the number of rows of a table; if it is None, also the reason."""
        if table not in self._rows:
            size = self._sizes.get(table)
            estimate = _estimated(size.rows) if size is not None and size.rows is not None else None
            if estimate is not None and estimate.value >= EXACT_ROWS:
                self._rows[table] = estimate, ""
            else:
                try:
                    row = await self._select(table, "count(*) AS rows")
                    self._rows[table] = Count(row["rows"]), ""
                except QueryTimeoutError as error:
                    self._rows[table] = estimate, "" if estimate else str(error)
        return self._rows[table]

    async def _newest(self, table: str, condition: str = "") -> datetime | None:
        """Return the newest time, not in the future, in the columns that say when a row was written."""
        timestamps = [
            key.identity[len(table) + 1 :]
            for key, fields in self._before.objects.items()
            if key.kind == "column"
            and (fields.get("of") or "").endswith(f" {table}")
            and (fields.get("type") or "").startswith("timestamp")
        ]
        columns = sorted(name for name in timestamps if name in _WRITE_TIMES) or sorted(timestamps)
        if not columns:
            return None
        past = "CASE WHEN {0}::timestamptz <= now() THEN {0}::timestamptz END"
        newest = ", ".join(f"max({past.format(column)})" for column in columns)
        try:
            row = await self._select(table, f"greatest({newest}) AS newest", condition)
        except QueryError:
            return None
        return row["newest"].astimezone(UTC) if row["newest"] is not None else None

    async def _enum_value(self, loss: Loss) -> Loss:
        """Count the rows that hold a value of an enumeration, in all columns."""
        keys = (key.identity for key in self._before.objects if key.kind == "enum")
        enum = next(identity for identity in keys if loss.identity.startswith(f"{identity}."))
        value = literal(label(loss.identity[len(enum) + 1 :]))
        total = 0
        for key, fields in self._before.objects.items():
            table, type_ = ObjectKey.parse(fields.get("of") or ""), fields.get("type")
            if key.kind != "column" or table.kind != "table" or fields.get("inherited") is not None:
                continue
            if type_ in (enum, f"{enum}[]"):
                column = key.identity[len(table.identity) + 1 :]
                test = f"{column}::text = {value}" if type_ == enum else f"{value} = ANY ({column}::text[])"
                total += (await self._select(table.identity, "count(*) AS rows", test))["rows"]
        return replace(loss, rows=Count(total))

    async def _sequence(self, loss: Loss) -> Loss:
        row = await self._select(loss.identity, "last_value, is_called")
        used = bool(row["is_called"])
        detail = f"at {row['last_value']}" if used else "never used"
        return replace(loss, rows=Count(int(used)), detail=detail)


def _table_of(loss: Loss, before: Snapshot) -> str | None:
    fields = before.objects.get(ObjectKey("column", loss.identity), {})
    return ObjectKey.parse(fields.get("of") or "").identity or None


def _estimated(number: int) -> Count:
    return Count(number, Precision.ESTIMATED)
