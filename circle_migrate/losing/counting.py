"""How much there is of what goes: counted on the live database up to a limit, above it estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from circle_migrate.core.catalog import Fields, Key, Snapshot
from circle_migrate.core.enumerations import label
from circle_migrate.core.identifier import literal, split_identity, unquote_and_fold
from circle_migrate.core.losses import Count, Effect, Loss, Precision
from circle_migrate.live_facts import sizes
from circle_migrate.losing.asking import AbsentError, Asking, TooLongError, UnansweredError, asking

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.core.live import Size
    from circle_migrate.database import Database

EXACT_ROWS = 1_000_000
"""Rows of a table up to which its values are counted; of larger ones the statistics are taken."""

_SAY_WHEN = ("updated_at", "modified_at", "changed_at", "last_modified", "created_at", "inserted_at")
"""Columns that say when a row was written. In a table without any, all timestamps are taken."""

_TABLES = ("table", "materialized view")
_NO_EQUALITY = "42883"

# Statistics of a partitioned table are those over its partitions.
_STATISTICS = """
SELECT null_frac::float8 AS nulls, n_distinct::float8 AS distinct, avg_width AS width
FROM pg_catalog.pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3
ORDER BY inherited DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class _Rows:
    """How many rows a table has; without a count, why."""

    count: Count | None
    why: str = ""

    @property
    def few(self) -> bool:
        """Whether its values can be counted."""
        return self.count is not None and self.count.exact


async def counted(database: Database, losses: Iterable[Loss], before: Snapshot) -> tuple[Loss, ...]:
    """The losses of one database with their counts, without what that database does not have.

    `before` is the catalogue the losses were found in. Raises what connecting raises.
    """
    losses = tuple(losses)
    tables = {each.identity for each in losses if each.kind in _TABLES} | {
        _table_of(each, before) for each in losses if each.kind == "column"
    }
    known = await sizes(database, filter(None, tables))
    async with asking(database) as questions:
        counting = _Counting(questions, before, known)
        return tuple([found for each in losses if (found := await counting.of(each)) is not None])


class _Counting:
    def __init__(self, questions: Asking, before: Snapshot, sizes: Mapping[str, Size]) -> None:
        self._ask = questions
        self._objects = before.objects
        self._sizes = sizes
        self._rows: dict[str, _Rows] = {}

    async def of(self, loss: Loss) -> Loss | None:
        """The loss with its counts; None where the live database has no such thing."""
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

    async def _table(self, loss: Loss) -> Loss:
        size = self._sizes.get(loss.identity)
        rows = await self._rows_of(loss.identity)
        newest = await self._newest(loss.identity) if rows.few and loss.kind == "table" else None
        weight = Count(size.bytes) if size is not None else None
        return replace(loss, rows=rows.count, bytes=weight, newest=newest, unknown=rows.why)

    async def _column(self, loss: Loss) -> Loss:
        table = Key.parse(self._objects.get(Key("column", loss.identity), {}).get("of") or "").identity
        if not table:  # one that the plan itself has given this name
            return loss
        column = loss.identity[len(table) + 1 :]
        rows = await self._rows_of(table)
        if loss.effect is Effect.NARROWED:
            return await self._all_values(loss, table, column) if rows.few else loss
        if not rows.few:
            return await self._estimated(replace(loss, rows=rows.count, unknown=rows.why), table, column)
        try:
            row = await self._values(table, column)
        except TooLongError:
            return await self._estimated(replace(loss, rows=rows.count), table, column)
        newest = await self._newest(table, f"{column} IS NOT NULL")
        return replace(
            loss,
            rows=rows.count,
            non_null=Count(row["non_null"]),
            distinct=Count(row["distinct"]),
            bytes=Count(row["bytes"]),
            newest=newest,
        )

    async def _all_values(self, loss: Loss, table: str, column: str) -> Loss:
        row = await self._ask.of(table, f"count({column}) AS non_null")
        return replace(loss, non_null=Count(row["non_null"]))

    async def _values(self, table: str, column: str) -> asyncpg.Record:
        """Counts of a column's values; those of a type that cannot be compared, as text."""
        figures = (
            "count({0}) AS non_null, count(DISTINCT {1}) AS distinct, "
            "coalesce(sum(pg_catalog.pg_column_size({0})), 0)::bigint AS bytes"
        )
        try:
            return await self._ask.of(table, figures.format(column, column))
        except UnansweredError as error:
            if _NO_EQUALITY not in str(error):
                raise
        return await self._ask.of(table, figures.format(column, f"{column}::text"))

    async def _estimated(self, loss: Loss, table: str, column: str) -> Loss:
        """What the statistics say of a column: nothing of one the role may not read, or never analysed."""
        if loss.rows is None:
            return loss
        schema, name, attribute = (
            unquote_and_fold(each) for each in (*split_identity(table), *split_identity(column))
        )
        row = await self._ask.row(_STATISTICS, schema, name, attribute)
        if row is None:
            why = "too many rows to count, and no statistics: ANALYZE"
            return replace(loss, unknown=loss.unknown or why)
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
            row = await self._ask.of(table, "count(*) AS rows")
        except TooLongError as error:
            return _Rows(about, "" if about else str(error))
        return _Rows(Count(row["rows"]))

    async def _newest(self, table: str, condition: str = "") -> datetime | None:
        """The newest moment in a table's columns that say when a row was written; None where none does."""
        columns = self._moments(table)
        if not columns:
            return None
        past = "CASE WHEN {0}::timestamptz <= now() THEN {0}::timestamptz END"
        newest = ", ".join(f"max({past.format(each)})" for each in columns)
        try:
            row = await self._ask.of(table, f"greatest({newest}) AS newest", condition)
        except UnansweredError:
            return None
        found: datetime | None = row["newest"]
        return found.astimezone(UTC) if found is not None else None

    def _moments(self, table: str) -> list[str]:
        found = [
            key.identity[len(table) + 1 :]
            for key, fields in self._objects.items()
            if key.kind == "column"
            and (fields.get("of") or "").endswith(f" {table}")
            and (fields.get("type") or "").startswith("timestamp")
        ]
        return sorted(name for name in found if name in _SAY_WHEN) or sorted(found)

    async def _label(self, loss: Loss) -> Loss:
        """The rows that hold a value of an enumeration, in whichever columns."""
        enum = next(key for key in self._objects if _is_label_of(loss, key))
        lost = literal(label(loss.identity[len(enum.identity) + 1 :]))
        total = 0
        for key, fields in self._objects.items():
            table = Key.parse(fields.get("of") or "")
            if key.kind == "column" and table.kind == "table" and _is_of(fields, enum.identity):
                column = key.identity[len(table.identity) + 1 :]
                array = (fields.get("type") or "").endswith("[]")
                test = f"{lost} = ANY ({column}::text[])" if array else f"{column}::text = {lost}"
                total += (await self._ask.of(table.identity, "count(*) AS rows", test))["rows"]
        return replace(loss, rows=Count(total))

    async def _sequence(self, loss: Loss) -> Loss:
        row = await self._ask.of(loss.identity, "last_value, is_called")
        used = bool(row["is_called"])
        return replace(
            loss, rows=Count(int(used)), detail=f"at {row['last_value']}" if used else "never used"
        )


def _uncounted(loss: Loss) -> bool:
    return loss.rows is None and not loss.unknown


def _is_label_of(loss: Loss, key: Key) -> bool:
    return key.kind == "enum" and loss.identity.startswith(f"{key.identity}.")


def _is_of(fields: Fields, enum: str) -> bool:
    return fields.get("type") in (enum, f"{enum}[]") and fields.get("inherited") is None


def _table_of(loss: Loss, before: Snapshot) -> str | None:
    fields = before.objects.get(Key("column", loss.identity), {})
    return Key.parse(fields.get("of") or "").identity or None


def _about(number: int) -> Count:
    return Count(number, Precision.ESTIMATED)
