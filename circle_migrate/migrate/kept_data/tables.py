"""Tables at one moment, seen from within a transaction; and what a step takes from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circle_migrate.postgres.database import KEPT_SCHEMA, OWN_TABLES, STEPS
from circle_migrate.postgres.identifier import quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_FIRST_OID = 16384
"""Of types that did not come with the server (FirstNormalObjectId in its source)."""

# The counters are those of the running transaction alone, savepoints that were rolled back included.
_TABLES = """
SELECT json_build_object(
    'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'partitioned', c.relkind = 'p',
    'parent', (SELECT inhparent::bigint FROM pg_catalog.pg_inherits
               WHERE inhrelid = c.oid AND c.relispartition),
    'file', pg_relation_filenode(c.oid)::bigint,
    'empty', c.relkind = 'r' AND pg_relation_size(c.oid) = 0,
    'written', json_build_array(pg_stat_get_xact_tuples_updated(c.oid),
                                pg_stat_get_xact_tuples_deleted(c.oid)),
    'inserted', pg_stat_get_xact_tuples_inserted(c.oid),
    'key', coalesce((SELECT array_to_json(indkey::int2[]) FROM pg_catalog.pg_index
                     WHERE indrelid = c.oid AND indisprimary), '[]'),
    'columns', (SELECT json_agg(json_build_object(
                    'number', attnum, 'name', attname, 'type', format_type(atttypid, atttypmod),
                    'type_oid', atttypid::bigint, 'generated', attgenerated <> '', 'identity', attidentity,
                    'collation', attcollation::bigint) ORDER BY attnum)
                FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
)::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', $1::text)
  AND NOT (n.nspname = $2::text AND c.relname = ANY ($3::text[]))
ORDER BY c.oid
"""
_SEQUENCES = """
SELECT c.oid::bigint, n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> $1::text
  AND NOT (n.nspname = $2::text AND starts_with(c.relname, $3::text || '_'))
ORDER BY c.oid
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` is as PostgreSQL prints it, `identity` is `a` where only the server may set it."""

    number: int
    name: str
    type: str
    type_oid: int
    generated: bool
    identity: str
    collation: int

    @property
    def own_type(self) -> bool:
        """Whether its type is somebody's, who may drop it, and not the server's."""
        return self.type_oid >= _FIRST_OID

    @property
    def own_collation(self) -> bool:
        """Whether its collation is somebody's."""
        return self.collation >= _FIRST_OID


@dataclass(frozen=True, slots=True)
class Table:
    """A table or partition; `key` has the numbers of its primary key's columns.

    `written` and `inserted` are rows of this transaction; `parent` is what it is a partition of.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    parent: int | None
    file: int | None
    empty: bool
    written: tuple[int, int]
    inserted: int
    key: tuple[int, ...]
    columns: Mapping[int, Column]

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def rows(self) -> str:
        """Its own rows in SQL: those of its partitions, and not those of tables that inherit from it."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    def named(self, name: str) -> Column | None:
        """The column of this name."""
        return next((column for column in self.columns.values() if column.name == name), None)


@dataclass(frozen=True, slots=True)
class TablesState:
    """All tables and sequences of users at one moment, by oid."""

    tables: Mapping[int, Table]
    sequences: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def called(self, schema: str, name: str) -> Table | None:
        """The table of this name."""
        found = (table for table in self.tables.values() if (table.schema, table.name) == (schema, name))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class TableLoss:
    """What a step takes from one table: the columns `numbers` of its rows.

    `gone` where the table goes, `rows` where the step deletes or changes rows itself, so that all columns
    count. `every_row` where a null may become a value.
    """

    table: Table
    numbers: frozenset[int]
    dropped: bool = False
    rows: bool = False
    every_row: bool = False

    def covers(self, other: TableLoss) -> bool:
        """Whether keeping this keeps the other one as well."""
        whole = self.dropped or self.rows
        return (whole or not (other.dropped or other.rows)) and self.numbers >= other.numbers


def read_tables(connection: Connection, schema: str, version_table: str) -> TablesState:
    """Look at the tables; left out are the version table and the journal in `schema`, and what is kept."""
    ours = [version_table, *OWN_TABLES]
    rows = connection.exec_driver_sql(_TABLES, (KEPT_SCHEMA, schema, ours)).scalars()
    tables = (_table(json.loads(row)) for row in rows)
    sequences = connection.exec_driver_sql(_SEQUENCES, (KEPT_SCHEMA, schema, STEPS))
    return TablesState(
        {table.oid: table for table in tables}, {oid: (where, name) for oid, where, name in sequences}
    )


def find_losses(before: TablesState, after: TablesState) -> dict[int, TableLoss]:
    """What is taken between two moments of one transaction, by the table's oid.

    A partition goes as a part of its parent; of a partitioned table that stays, the partitions have the rows.
    """
    found = {}
    for oid, table in before.tables.items():
        now = after.tables.get(oid)
        if now is None:
            parent_goes = table.parent in before.tables and table.parent not in after.tables
            if not parent_goes:
                found[oid] = TableLoss(table, _holding(table), dropped=True)
        elif not table.partitioned and (taken := _taken(table, now)) is not None:
            found[oid] = taken
    return found


def _taken(table: Table, now: Table) -> TableLoss | None:
    holding = _holding(table)
    changed = frozenset(
        number
        for number, column in table.columns.items()
        if number in holding and not _same(column, number, now)
    )
    if _rows_written(table, now):
        return TableLoss(table, holding, rows=True)
    # A type that changes without a new file leaves every byte of the values as it was.
    lost = frozenset(number for number in changed if number not in now.columns or table.file != now.file)
    if not lost:
        return None
    again = any(number in now.columns or now.named(table.columns[number].name) for number in lost)
    return TableLoss(table, lost, every_row=again)


def _same(column: Column, number: int, now: Table) -> bool:
    other = now.columns.get(number)
    return other is not None and (other.type, other.type_oid) == (column.type, column.type_oid)


def _rows_written(table: Table, now: Table) -> bool:
    """Whether rows were deleted, changed, or thrown away: TRUNCATE gives a table a new file, and counts none.

    So does a rewrite, but that comes with a column that is new or has another type, and counts none either.
    """
    if table.written != now.written:
        return True
    if table.file == now.file:
        return False
    rewritten = any(number not in table.columns for number in now.columns) or any(
        not _same(column, number, now) for number, column in table.columns.items() if number in now.columns
    )
    return now.empty or table.inserted != now.inserted or not rewritten


def _holding(table: Table) -> frozenset[int]:
    """The columns with values of their own; what is generated is computed again."""
    return frozenset(number for number, column in table.columns.items() if not column.generated)


def _table(row: dict[str, Any]) -> Table:
    columns = [Column(**each) for each in row.pop("columns") or ()]
    row["key"], row["written"] = tuple(row["key"]), tuple(row["written"])
    return Table(**row, columns={column.number: column for column in columns})
