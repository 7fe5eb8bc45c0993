"""The state of tables within a transaction, and the data that a step removes from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from circle_migrate.postgres.identifier import FIRST_OID, quote
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

# The counters count the running transaction only, including savepoints that were rolled back.
_TABLES = f"""
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
  AND n.nspname <> 'information_schema' AND n.nspname NOT IN {OWN_SCHEMAS}
  AND NOT (n.nspname = $1::text AND c.relname = $2::text)
ORDER BY c.oid
"""
_SEQUENCES = f"""
SELECT c.oid::bigint, n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN {OWN_SCHEMAS}
ORDER BY c.oid
"""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column. `type` is as PostgreSQL prints it; `identity` is `a` for GENERATED ALWAYS AS IDENTITY."""

    number: int
    name: str
    type: str
    type_oid: int
    generated: bool
    identity: str
    collation: int

    @property
    def has_user_type(self) -> bool:
        """Whether a user created its type, and so may drop it."""
        return self.type_oid >= FIRST_OID


@dataclass(frozen=True, slots=True)
class Table:
    """A table or partition.

    `parent` is the OID of its partitioned table, `file` its relfilenode. `written` (updated, deleted) and
    `inserted` count rows of this transaction. `key` has the numbers of the primary key's columns.
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
    columns: Mapping[int, TableColumn]

    @property
    def sql(self) -> str:
        """Its name as SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def label(self) -> str:
        """Its name for messages."""
        return f"{self.schema}.{self.name}"

    @property
    def rows(self) -> str:
        """Its rows as SQL: with those of partitions, without those of tables that inherit from it."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    @property
    def stored(self) -> frozenset[int]:
        """The numbers of the columns that are not generated."""
        return frozenset(number for number, column in self.columns.items() if not column.generated)

    def column(self, name: str) -> TableColumn | None:
        """Return the column with this name, None where there is none."""
        return next((column for column in self.columns.values() if column.name == name), None)


@dataclass(frozen=True, slots=True)
class TablesState:
    """The tables and sequences of users by OID; sequences as schema and name."""

    tables: Mapping[int, Table]
    sequences: Mapping[int, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TableLoss:
    """The data that a step removes from one table: values of the columns `numbers`.

    `dropped` means that the table is dropped, `rows` that the step deletes or updates rows, so that all
    stored columns count. With `every_row` even a null can be lost, as the column has a new value.
    """

    table: Table
    numbers: frozenset[int]
    dropped: bool = False
    rows: bool = False
    every_row: bool = False

    def covers(self, other: TableLoss) -> bool:
        """Return whether a copy made for this loss has the data of the other one."""
        whole = self.dropped or self.rows
        return (whole or not (other.dropped or other.rows)) and self.numbers >= other.numbers


def read_tables(connection: Connection, schema: str, version_table: str) -> TablesState:
    """Read the tables, without the version table in `schema`, and without the journal and kept data."""
    rows = connection.exec_driver_sql(_TABLES, (schema, version_table)).scalars()
    tables = (_table(json.loads(row)) for row in rows)
    sequences = connection.exec_driver_sql(_SEQUENCES)
    return TablesState(
        {table.oid: table for table in tables},
        {oid: (sequence_schema, name) for oid, sequence_schema, name in sequences},
    )


def find_losses(before: TablesState, after: TablesState) -> dict[int, TableLoss]:
    """Return the losses between two states of one transaction, by the table's OID.

    A partition dropped with its parent is no loss of its own; rows of a partitioned table that stays are
    those of its partitions.
    """
    losses = {}
    for oid, table in before.tables.items():
        present = after.tables.get(oid)
        if present is None:
            if table.parent not in before.tables or table.parent in after.tables:
                losses[oid] = TableLoss(table, table.stored, dropped=True)
        elif not table.partitioned and (loss := _table_loss(table, present)) is not None:
            losses[oid] = loss
    return losses


def _table_loss(before: Table, after: Table) -> TableLoss | None:
    dropped = before.columns.keys() - after.columns.keys()
    retyped = {
        number
        for number in before.columns.keys() & after.columns.keys()
        if _type(before, number) != _type(after, number)
    }
    added = after.columns.keys() - before.columns.keys()
    new_file = before.file != after.file
    # TRUNCATE and a rewrite give a table a new file and count no rows. A rewrite comes with an added column
    # or another type.
    truncated = new_file and (after.empty or before.inserted != after.inserted or not (added or retyped))
    if truncated or before.written != after.written:
        return TableLoss(before, before.stored, rows=True)
    # A type that changes without a new file leaves the values as they are.
    lost = before.stored & (dropped | retyped if new_file else dropped)
    if not lost:
        return None
    has_successor = any(number in retyped or after.column(before.columns[number].name) for number in lost)
    return TableLoss(before, lost, every_row=has_successor)


def _type(table: Table, number: int) -> tuple[str, int]:
    column = table.columns[number]
    return column.type, column.type_oid


def _table(row: dict[str, Any]) -> Table:
    columns = [TableColumn(**column) for column in row.pop("columns") or ()]
    row["key"], row["written"] = tuple(row["key"]), tuple(row["written"])
    return Table(**row, columns={column.number: column for column in columns})
