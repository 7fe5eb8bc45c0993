"""Count how much there is of each loss: exactly up to a limit, above it by the planner's statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from circle_migrate.config.load_relations import load_relations
from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.bounded_read import (
    AbsentError,
    LiveQuery,
    TooLongError,
    UnansweredError,
    open_live_query,
)
from circle_migrate.postgres.catalog.enum_labels import label
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Snapshot
from circle_migrate.postgres.identifier import literal, split_identity, unquote_and_fold
from circle_migrate.safety.live_database.sizes import sizes
from circle_migrate.safety.losses.cross_database import with_cross_database_rows
from circle_migrate.safety.losses.predict import predict_row_losses, predict_value_losses
from circle_migrate.safety.losses.report import (
    Count,
    Effect,
    Loss,
    LossReport,
    Precision,
    biggest_first,
    merge,
)

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import Database
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.safety.live_database.record import Size
    from circle_migrate.safety.losses.find import LossCollector

EXACT_ROWS = 1_000_000
"""Rows of a table up to which its values are counted; of larger ones the statistics are taken."""

_WRITE_TIMES = ("updated_at", "modified_at", "changed_at", "last_modified", "created_at", "inserted_at")
"""Columns that say when a row was written. In a table without any, all timestamps are taken."""

_TABLES = ("table", "materialized view")
_NO_EQUALITY = "42883"

# Statistics of a partitioned table are those over its partitions.
_STATISTICS = """
SELECT null_frac::float8 AS nulls, n_distinct::float8 AS distinct, avg_width AS width
FROM pg_catalog.pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3
ORDER BY inherited DESC LIMIT 1
"""


async def loss_report(deployment: Deployment, collector: LossCollector) -> LossReport:
    """Report what the plan takes, with what the live databases hold now.

    Raises what connecting raises.
    """
    plan, notes = collector.plan, list(collector.notes)
    losses = await recount(deployment, collector)
    try:
        if losses and (relations := load_relations(deployment.settings)):
            losses = await with_cross_database_rows(deployment, relations, losses)
    except SettingsError as error:
        notes.append(f"rows of the other database were not looked at: {error.message}")
    order = list(plan.databases)
    return LossReport(
        "downgrade",
        plan,
        deployment.commit_mode,
        tuple(sorted(losses, key=lambda loss: (order.index(loss.database), *biggest_first(loss)))),
        tuple(collector.methods),
        datetime.now(UTC),
        tuple(collector.failures),
        collector.skipped,
        tuple(dict.fromkeys(notes)),
    )


async def recount(deployment: Deployment, collector: LossCollector) -> tuple[Loss, ...]:
    """Return the losses with their counts of now, without the rows of other databases.

    Rows that the revisions' own statements change are those a rehearsal has counted, if there was one.
    Raises what connecting raises.
    """
    databases = {name: deployment.databases[name] for name in collector.plan.databases}
    losses = merge(collector.losses, predict_row_losses(collector.namers, collector.statements))
    predicted = await predict_value_losses(databases, collector.namers, collector.statements)
    altered = [_as_rehearsed(loss, collector.altered) for loss in predicted]
    losses = _without_parts(merge(_without_shadows(losses, altered), altered))
    counted: list[Loss] = []
    for name, database in databases.items():
        of_database = [loss for loss in losses if loss.database == name]
        counted += await _counted(database, of_database, collector.before[name])
    return tuple(counted)


def _as_rehearsed(loss: Loss, altered: Mapping[tuple[str, str], int]) -> Loss:
    """Take the number of altered values from the rehearsal where only that can tell."""
    number = altered.get((loss.database, loss.identity))
    if number is None or loss.effect is not Effect.NARROWED or loss.rows is not None:
        return loss
    return replace(loss, rows=Count(number), unknown="")


def _without_shadows(losses: Iterable[Loss], altered: Iterable[Loss]) -> list[Loss]:
    """Leave out the changes of columns of whose values more is known."""
    known = {(loss.database, loss.kind, loss.identity) for loss in altered}
    return [
        loss
        for loss in losses
        if loss.effect is not Effect.CHANGED or (loss.database, loss.kind, loss.identity) not in known
    ]


def _without_parts(losses: Sequence[Loss]) -> list[Loss]:
    """Leave out what happens to columns before their table is dropped as a whole."""
    tables = {
        (loss.database, loss.identity)
        for loss in losses
        if loss.kind == "table" and loss.effect is Effect.DROPPED
    }
    return [
        loss
        for loss in losses
        if loss.kind != "column"
        or loss.effect not in (Effect.NARROWED, Effect.CHANGED)
        or (loss.database, ".".join(split_identity(loss.identity)[:-1])) not in tables
    ]


async def _counted(database: Database, losses: Sequence[Loss], before: Snapshot) -> list[Loss]:
    """Count the losses of one database; those of what it does not have are left out.

    `before` is the catalogue the losses were found in.
    """
    tables = {loss.identity if loss.kind in _TABLES else _table_of(loss, before) for loss in losses}
    known = await sizes(database, filter(None, tables))
    async with open_live_query(database) as live:
        counting = _Counting(live, before, known)
        return [counted for loss in losses if (counted := await counting.of(loss)) is not None]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The number of rows of a table; where it is unknown, `why`."""

    count: Count | None
    why: str = ""

    @property
    def few(self) -> bool:
        """Whether the values of the table can be counted."""
        return self.count is not None and self.count.exact


class _Counting:
    def __init__(self, live: LiveQuery, before: Snapshot, sizes: Mapping[str, Size]) -> None:
        self._live = live
        self._before = before
        self._sizes = sizes
        self._rows: dict[str, _Rows] = {}

    async def of(self, loss: Loss) -> Loss | None:
        """Return the loss with its counts; None where the live database has no such object."""
        try:
            return await self._counted(loss)
        except AbsentError:
            return None
        except UnansweredError as error:
            return replace(loss, unknown=str(error))

    async def _counted(self, loss: Loss) -> Loss:
        match loss.effect, loss.kind:
            case ((Effect.DROPPED | Effect.DELETED), "table" | "materialized view") if _uncounted(loss):
                return await self._table(loss)
            case ((Effect.DROPPED | Effect.NARROWED), "column"):
                return await self._column(loss)
            case Effect.DROPPED, "enum value":
                return await self._label(loss)
            case Effect.DROPPED, "sequence":
                return await self._sequence(loss)
        return loss

    async def _one(self, relation: str, what: str, condition: str = "") -> asyncpg.Record:
        """Return aggregates over the rows of a relation that meet a condition."""
        where = f" WHERE {condition}" if condition else ""
        [row] = await self._live.rows(f"SELECT {what} FROM {relation}{where}")  # noqa: S608 - names as SQL
        return row

    async def _table(self, loss: Loss) -> Loss:
        size = self._sizes.get(loss.identity)
        rows = await self._rows_of(loss.identity)
        newest = await self._newest(loss.identity) if rows.few and loss.kind == "table" else None
        weight = Count(size.bytes) if size is not None else None
        return replace(loss, rows=rows.count, bytes=weight, newest=newest, unknown=rows.why)

    async def _column(self, loss: Loss) -> Loss:
        table = _table_of(loss, self._before)
        if not table:  # The plan itself has given the column this name.
            return loss
        column = loss.identity[len(table) + 1 :]
        rows = await self._rows_of(table)
        if loss.effect is Effect.NARROWED:
            if rows.few:
                row = await self._one(table, f"count({column}) AS non_null")
                loss = replace(loss, non_null=Count(row["non_null"]))
            return loss
        loss = replace(loss, rows=rows.count, unknown=rows.why)
        if not rows.few:
            return await self._estimated(loss, table, column)
        try:
            row = await self._values(table, column)
        except TooLongError:
            return await self._estimated(loss, table, column)
        return replace(
            loss,
            non_null=Count(row["non_null"]),
            distinct=Count(row["distinct"]),
            bytes=Count(row["bytes"]),
            newest=await self._newest(table, f"{column} IS NOT NULL"),
        )

    async def _values(self, table: str, column: str) -> asyncpg.Record:
        """Count a column's values; those of a type without equality are compared as text."""
        figures = (
            "count({0}) AS non_null, count(DISTINCT {1}) AS distinct, "
            "coalesce(sum(pg_catalog.pg_column_size({0})), 0)::bigint AS bytes"
        )
        try:
            return await self._one(table, figures.format(column, column))
        except UnansweredError as error:
            if error.sqlstate != _NO_EQUALITY:
                raise
        return await self._one(table, figures.format(column, f"{column}::text"))

    async def _estimated(self, loss: Loss, table: str, column: str) -> Loss:
        """Estimate from the statistics, which exclude columns that the role may not read."""
        if loss.rows is None:
            return loss
        schema, name, attribute = (
            unquote_and_fold(each) for each in (*split_identity(table), *split_identity(column))
        )
        statistics = await self._live.rows(_STATISTICS, schema, name, attribute)
        if not statistics:
            why = "too many rows to count, and no statistics: ANALYZE"
            return replace(loss, unknown=loss.unknown or why)
        [row] = statistics
        values = round(loss.rows.value * (1 - row["nulls"]))
        kinds = row["distinct"] if row["distinct"] >= 0 else -row["distinct"] * loss.rows.value
        return replace(
            loss,
            non_null=_about(values),
            distinct=_about(min(values, round(kinds))),
            bytes=_about(values * row["width"]),
        )

    async def _rows_of(self, table: str) -> _Rows:
        if table not in self._rows:
            self._rows[table] = await self._count_rows(table)
        return self._rows[table]

    async def _count_rows(self, table: str) -> _Rows:
        size = self._sizes.get(table)
        about = _about(size.rows) if size is not None and size.rows is not None else None
        if about is not None and about.value >= EXACT_ROWS:
            return _Rows(about)
        try:
            row = await self._one(table, "count(*) AS rows")
        except TooLongError as error:
            return _Rows(about, "" if about else str(error))
        return _Rows(Count(row["rows"]))

    async def _newest(self, table: str, condition: str = "") -> datetime | None:
        """Return the newest time, not in the future, in the columns that say when a row was written."""
        columns = self._write_times(table)
        if not columns:
            return None
        past = "CASE WHEN {0}::timestamptz <= now() THEN {0}::timestamptz END"
        newest = ", ".join(f"max({past.format(column)})" for column in columns)
        try:
            row = await self._one(table, f"greatest({newest}) AS newest", condition)
        except UnansweredError:
            return None
        return row["newest"].astimezone(UTC) if row["newest"] is not None else None

    def _write_times(self, table: str) -> list[str]:
        timestamps = [
            key.identity[len(table) + 1 :]
            for key, fields in self._before.objects.items()
            if key.kind == "column"
            and (fields.get("of") or "").endswith(f" {table}")
            and (fields.get("type") or "").startswith("timestamp")
        ]
        return sorted(name for name in timestamps if name in _WRITE_TIMES) or sorted(timestamps)

    async def _label(self, loss: Loss) -> Loss:
        """Count the rows that hold a value of an enumeration, in all columns."""
        enum = next(key for key in self._before.objects if _is_label_of(loss, key))
        lost = literal(label(loss.identity[len(enum.identity) + 1 :]))
        total = 0
        for key, fields in self._before.objects.items():
            table = ObjectKey.parse(fields.get("of") or "")
            if key.kind == "column" and table.kind == "table" and _is_of(fields, enum.identity):
                column = key.identity[len(table.identity) + 1 :]
                array = (fields.get("type") or "").endswith("[]")
                test = f"{lost} = ANY ({column}::text[])" if array else f"{column}::text = {lost}"
                total += (await self._one(table.identity, "count(*) AS rows", test))["rows"]
        return replace(loss, rows=Count(total))

    async def _sequence(self, loss: Loss) -> Loss:
        row = await self._one(loss.identity, "last_value, is_called")
        used = bool(row["is_called"])
        return replace(
            loss, rows=Count(int(used)), detail=f"at {row['last_value']}" if used else "never used"
        )


def _uncounted(loss: Loss) -> bool:
    return loss.rows is None and not loss.unknown


def _is_label_of(loss: Loss, key: ObjectKey) -> bool:
    return key.kind == "enum" and loss.identity.startswith(f"{key.identity}.")


def _is_of(fields: Fields, enum: str) -> bool:
    return fields.get("type") in (enum, f"{enum}[]") and fields.get("inherited") is None


def _table_of(loss: Loss, before: Snapshot) -> str | None:
    fields = before.objects.get(ObjectKey("column", loss.identity), {})
    return ObjectKey.parse(fields.get("of") or "").identity or None


def _about(number: int) -> Count:
    return Count(number, Precision.ESTIMATED)
