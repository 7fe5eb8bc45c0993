"""Restore kept data.

Kept values replace those that the upgrade or anyone else has written since the downgrade. Rows of a dropped
table are inserted, or replace the row with their key. Kept columns go into the row with their key; where that
row no longer exists, they stay in the side table. Triggers fire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from circle_migrate.core.counted import counted
from circle_migrate.core.errors import MigrationFailed
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.copy import LOST_COLUMNS, without_row_security
from circle_migrate.migrate.kept_data.registry import KeptEntry, KeptKind, KeptRowCount, KeptState
from circle_migrate.migrate.kept_data.tables import Table, TableColumn, TablesState
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.search_path import CONFIGURED, PINNED

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_REFERENCES = """
SELECT conrelid::bigint, confrelid::bigint FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND NOT condeferrable AND conrelid <> confrelid
  AND conrelid = ANY ($1::oid[]) AND confrelid = ANY ($1::oid[])
"""
_SIDE_TYPES = """
SELECT attname, atttypid::bigint FROM pg_catalog.pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""


def restore_rows(
    connection: Connection, entries: Sequence[KeptEntry], tables: TablesState
) -> tuple[KeptRowCount, ...]:
    """Restore entries in one transaction and return the counts of those with rows.

    Deferrable constraints are checked at the end. Raises `MigrationFailed` where an entry does not fit its
    table, or a row is unaccounted for.
    """
    connection.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")
    connection.exec_driver_sql(CONFIGURED)  # for triggers
    with without_row_security(connection):
        counts = {
            entry: _TableRestore.prepare(connection, entry, table).run()
            for entry, table in _in_order(connection, entries, tables)
        }
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    connection.exec_driver_sql(PINNED)
    for entry in entries:
        if entry.kind is KeptKind.SEQUENCE:
            _set_sequence(connection, entry)
            counts[entry] = 0, 0
    for entry, (restored, missing) in counts.items():
        registry.update_entry(
            connection, entry, KeptState.RESTORED, keep_side=missing > 0, restored=restored, missing=missing
        )
    return tuple(
        KeptRowCount(entry.database, entry.revision, entry.name, *count)
        for entry, count in counts.items()
        if entry.rows
    )


def _in_order(
    connection: Connection, entries: Iterable[KeptEntry], state: TablesState
) -> list[tuple[KeptEntry, Table]]:
    """Return entries with tables, referenced tables first; foreign keys in a cycle leave the given order."""
    by_name = {(table.schema, table.name): table for table in state.tables.values()}
    tables = {}
    for entry in entries:
        if entry.kind is not KeptKind.SEQUENCE:
            if entry.table not in by_name:
                raise _not_restorable_error(entry, "the table does not exist")
            tables[entry] = by_name[entry.table]
    by_oid = {table.oid: entry for entry, table in tables.items()}
    referenced: dict[KeptEntry, set[KeptEntry]] = {entry: set() for entry in tables}
    for referencing_oid, referenced_oid in connection.exec_driver_sql(_REFERENCES, (list(by_oid),)):
        referenced[by_oid[referencing_oid]].add(by_oid[referenced_oid])
    try:
        return [(entry, tables[entry]) for entry in TopologicalSorter(referenced).static_order()]
    except CycleError:
        return list(tables.items())


def _not_restorable_error(entry: KeptEntry, reason: str) -> MigrationFailed:
    return MigrationFailed(
        f"{entry.database}: the data kept of {entry.name} cannot be restored: {reason}",
        database=entry.database,
        detail=f"entry {entry.id}, kept by run {entry.run[:8]} when {entry.revision} was undone",
        state="the transaction was rolled back",
        hint="upgrade with --no-restore-kept, then type "
        f"`circle-migrate kept restore {entry.id}` or `circle-migrate kept drop {entry.id}`",
    )


@dataclass(frozen=True, slots=True)
class _TableRestore:
    """The statements that restore an entry; `types` has the type OIDs of the side table by column name."""

    connection: Connection
    entry: KeptEntry
    table: Table
    types: Mapping[str, int]

    @classmethod
    def prepare(cls, connection: Connection, entry: KeptEntry, table: Table) -> _TableRestore:
        """Read the side table's types. Raises `MigrationFailed` where a column is missing or generated."""
        for name in (*entry.keys, *entry.columns):
            column = table.column(name)
            if column is None or (column.generated and name not in entry.keys):
                raise _not_restorable_error(entry, f"the table has no column {name} that takes values")
        types = connection.exec_driver_sql(_SIDE_TYPES, (registry.side_table(entry.side_table),))
        return cls(connection, entry, table, dict(tuple(row) for row in types))

    def run(self) -> tuple[int, int]:
        """Restore every row. Return the numbers of restored and of missing rows."""
        restored = missing = 0
        if not self.entry.keys:
            if self._fetch_count(f"(SELECT FROM {self.table.rows} LIMIT 1) present"):
                raise _not_restorable_error(self.entry, "the table has rows and no primary key")
        elif self.entry.columns:
            with self._identities_by_default():
                restored += self._execute(self._update(whole=True))
                restored += self._execute(self._update(whole=False))
        else:
            restored += self._fetch_count(f"{self._side} s WHERE {self._row_exists}")
        restored += self._execute(self._insert())
        if self.entry.keys:
            lost_columns = f"s.{quote(LOST_COLUMNS)} IS NOT NULL"
            missing = self._fetch_count(f"{self._side} s WHERE {lost_columns} AND NOT {self._row_exists}")
        if restored + missing != self.entry.rows:
            raise _not_restorable_error(
                self.entry,
                f"of {counted(self.entry.rows, 'row')}, {restored} were restored, and {missing} are gone",
            )
        return restored, missing

    def _update(self, *, whole: bool) -> str:
        """Return the statement for rows that exist: of whole rows all columns, else the lost columns."""
        lost = f"s.{quote(LOST_COLUMNS)}"
        values = []
        for name in self.entry.columns:
            value = self._value(name)
            if not whole:
                is_lost = f"{literal(name)} OPERATOR(pg_catalog.=) ANY ({lost})"
                value = f"CASE WHEN {is_lost} THEN {value} ELSE t.{quote(name)} END"
            values.append(f"{quote(name)} = {value}")
        return (
            f"UPDATE {self.table.rows} t SET {', '.join(values)} FROM {self._side} s "
            f"WHERE {lost} {'IS NULL' if whole else 'IS NOT NULL'} AND {self._same_key}"
        )

    def _insert(self) -> str:
        """Return the statement for rows that do not exist."""
        names = [name for name in (*self.entry.keys, *self.entry.columns) if not self._column(name).generated]
        condition = f" AND NOT {self._row_exists}" if self.entry.keys else ""
        return (
            f"INSERT INTO {self.table.sql} ({', '.join(map(quote, names))}) OVERRIDING SYSTEM VALUE "
            f"SELECT {', '.join(map(self._value, names))} FROM {self._side} s "
            f"WHERE s.{quote(LOST_COLUMNS)} IS NULL{condition}"
        )

    @property
    def _side(self) -> str:
        return registry.side_table(self.entry.side_table)

    @property
    def _same_key(self) -> str:
        """The condition that a row of the side table `s` and one of the table `t` have the same key."""
        pairs = []
        for name in self.entry.keys:
            cast = "" if self.types[name] == self._column(name).type_oid else "::text"
            pairs.append(f"s.{quote(name)}{cast} OPERATOR(pg_catalog.=) t.{quote(name)}{cast}")
        return " AND ".join(pairs)

    @property
    def _row_exists(self) -> str:
        return f"EXISTS (SELECT FROM {self.table.rows} t WHERE {self._same_key})"

    def _value(self, name: str) -> str:
        column = self._column(name)
        value = f"s.{quote(name)}"
        return value if self.types[name] == column.type_oid else f"{value}::text::{column.type}"

    def _column(self, name: str) -> TableColumn:
        return next(column for column in self.table.columns.values() if column.name == name)

    @contextmanager
    def _identities_by_default(self) -> Iterator[None]:
        """Let the block set columns that are GENERATED ALWAYS AS IDENTITY."""
        names = [name for name in self.entry.columns if self._column(name).identity == "a"]
        for name in names:
            self._execute(f"ALTER TABLE {self.table.sql} ALTER {quote(name)} SET GENERATED BY DEFAULT")
        yield
        for name in names:
            self._execute(f"ALTER TABLE {self.table.sql} ALTER {quote(name)} SET GENERATED ALWAYS")

    def _execute(self, statement: str) -> int:
        return self.connection.exec_driver_sql(statement).rowcount

    def _fetch_count(self, rows: str) -> int:
        return int(self.connection.exec_driver_sql(f"SELECT count(*) FROM {rows}").scalar_one())


def _set_sequence(connection: Connection, entry: KeptEntry) -> None:
    """Advance a sequence to its kept position; ignore a sequence that no longer exists."""
    name = ".".join(map(quote, entry.table))
    if connection.exec_driver_sql("SELECT to_regclass($1::text) IS NULL", (name,)).scalar_one():
        return
    connection.exec_driver_sql(
        "SELECT setval($1::text::regclass, CASE WHEN seqincrement > 0 THEN greatest(last_value, $2::bigint) "
        f"ELSE least(last_value, $2::bigint) END) FROM {name}, pg_catalog.pg_sequence "
        "WHERE seqrelid = $1::text::regclass",
        (name, entry.position),
    )
