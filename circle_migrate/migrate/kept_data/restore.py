"""What was kept, put back where it was.

What was kept wins: it replaces what the upgrade itself, or anybody since the downgrade, has put there. Rows
of a table that went are inserted, or replace the one of their key; values of rows that stayed go into the row
of that key, and where that is no longer there they stay in the side table. Triggers fire as for anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrationFailed
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.copy import LOST_COLUMNS, without_row_security
from circle_migrate.migrate.kept_data.entry import KeptEntry, KeptKind, KeptState
from circle_migrate.migrate.kept_data.tables import Column, Table, TablesState, read_tables
from circle_migrate.postgres.identifier import literal, quote

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
_WAY_OUT = (
    "upgrade with --no-restore-kept, and settle it by hand: `circle-migrate kept restore` or `kept drop`"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """How many rows of an entry are back, and how many had no row to go to."""

    entry: KeptEntry
    restored: int
    missing: int


def restore_rows(
    connection: Connection, kept: Sequence[KeptEntry], schema: str, version_table: str
) -> tuple[Restored, ...]:
    """Put entries back in one transaction; deferrable constraints are checked at the end.

    `schema` and `version_table` say which tables are not looked at. Raises `MigrationFailed` where one does
    not fit any more, or where not every row is accounted for.
    """
    seen = read_tables(connection, schema, version_table)
    connection.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")
    with without_row_security(connection):
        done = [
            _TableRestore.of(connection, entry, seen).run() for entry in _in_order(connection, kept, seen)
        ]
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    for entry in kept:
        if entry.what is KeptKind.SEQUENCE:
            _set_sequence(connection, entry)
            done.append(Restored(entry, 0, 0))
    for restored in done:
        registry.update_entry(
            connection,
            restored.entry,
            KeptState.RESTORED,
            keep_side=restored.missing > 0,
            restored=restored.restored,
            missing=restored.missing,
        )
    return tuple(done)


def _in_order(connection: Connection, kept: Iterable[KeptEntry], seen: TablesState) -> list[KeptEntry]:
    """Tables before those that refer to them and are checked at once; in a circle of such, as they come."""
    tables = {
        kept_entry: _target(kept_entry, seen).oid
        for kept_entry in kept
        if kept_entry.what is not KeptKind.SEQUENCE
    }
    by_oid = {oid: entry for entry, oid in tables.items()}
    before: dict[KeptEntry, set[KeptEntry]] = {entry: set() for entry in tables}
    for referring, referred in connection.exec_driver_sql(_REFERENCES, (list(by_oid),)):
        before[by_oid[referring]].add(by_oid[referred])
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return list(tables)


def _target(entry: KeptEntry, seen: TablesState) -> Table:
    table = seen.called(*entry.table)
    if table is None:
        raise _why_not_restorable(entry, "there is no such table")
    return table


def _why_not_restorable(entry: KeptEntry, why: str) -> MigrationFailed:
    return MigrationFailed(
        f"{entry.database}: what was kept of {entry.name} cannot be put back: {why}",
        database=entry.database,
        detail=f"entry {entry.id}, kept by run {entry.run[:8]} when {entry.revision} was undone",
        state="the transaction was rolled back",
        hint=_WAY_OUT,
    )


@dataclass(frozen=True, slots=True)
class _TableRestore:
    """One entry on its way back into its table; `types` are those of the side table's columns, by name."""

    connection: Connection
    entry: KeptEntry
    table: Table
    types: Mapping[str, int]

    @classmethod
    def of(cls, connection: Connection, entry: KeptEntry, seen: TablesState) -> _TableRestore:
        """Where an entry belongs. Raises `MigrationFailed` where a column is not there, or is computed."""
        table = _target(entry, seen)
        for name in (*entry.keys, *entry.columns):
            column = table.named(name)
            if column is None or (column.generated and name not in entry.keys):
                raise _why_not_restorable(entry, f"it has no column {name} to put values into")
        types = connection.exec_driver_sql(_SIDE_TYPES, (registry.archive_table(entry.side),))
        return cls(connection, entry, table, dict(tuple(row) for row in types))

    def run(self) -> Restored:
        """Put every row back, and count."""
        if not self.entry.keys:
            self._refuse_rows()
        restored = 0
        if self.entry.keys and self.entry.columns:
            with self._settable_identities():
                restored += self._run(self._update(whole=True))
                restored += self._run(self._update(whole=False))
        elif self.entry.keys:
            restored += self._number(f"SELECT count(*) FROM {self._side} s WHERE {self._there}")
        restored += self._run(self._insert())
        missing = 0
        if self.entry.keys:
            alone = f"s.{quote(LOST_COLUMNS)} IS NOT NULL AND NOT {self._there}"
            missing = self._number(f"SELECT count(*) FROM {self._side} s WHERE {alone}")
        if restored + missing != self.entry.rows:
            raise _why_not_restorable(
                self.entry,
                f"of {self.entry.rows} rows {restored} were put back and {missing} have no row to go to",
            )
        return Restored(self.entry, restored, missing)

    def _refuse_rows(self) -> None:
        if self._number(f"SELECT count(*) FROM (SELECT FROM {self.table.rows} LIMIT 1) found"):
            raise _why_not_restorable(self.entry, "it has no primary key, and rows already")

    def _update(self, *, whole: bool) -> str:
        """The statement for rows that are there: all columns, or those that were lost of each row."""
        values = []
        for name in self.entry.columns:
            value = self._value(name)
            if not whole:
                value = f"CASE WHEN {literal(name)} = ANY (s.{quote(LOST_COLUMNS)}) THEN {value} ELSE t.{quote(name)} END"
            values.append(f"{quote(name)} = {value}")
        lost = "IS NULL" if whole else "IS NOT NULL"
        return (
            f"UPDATE {self.table.rows} t SET {', '.join(values)} FROM {self._side} s "
            f"WHERE s.{quote(LOST_COLUMNS)} {lost} AND {self._same}"
        )

    def _insert(self) -> str:
        """The statement for rows that are not there."""
        names = [name for name in (*self.entry.keys, *self.entry.columns) if not self._column(name).generated]
        there = f" AND NOT {self._there}" if self.entry.keys else ""
        return (
            f"INSERT INTO {self.table.sql} ({', '.join(map(quote, names))}) OVERRIDING SYSTEM VALUE "
            f"SELECT {', '.join(map(self._value, names))} FROM {self._side} s "
            f"WHERE s.{quote(LOST_COLUMNS)} IS NULL{there}"
        )

    @property
    def _side(self) -> str:
        return registry.archive_table(self.entry.side)

    @property
    def _same(self) -> str:
        """Whether a row of the side table `s` and one of the table `t` have the same key."""
        pairs = []
        for name in self.entry.keys:
            one, other = f"s.{quote(name)}", f"t.{quote(name)}"
            direct = self.types[name] == self._column(name).type_oid
            pairs.append(f"{one} = {other}" if direct else f"{one}::text = {other}::text")
        return " AND ".join(pairs)

    @property
    def _there(self) -> str:
        return f"EXISTS (SELECT FROM {self.table.rows} t WHERE {self._same})"

    def _value(self, name: str) -> str:
        column = self._column(name)
        value = f"s.{quote(name)}"
        return value if self.types[name] == column.type_oid else f"{value}::text::{column.type}"

    def _column(self, name: str) -> Column:
        column = self.table.named(name)
        if column is None:
            raise KeyError(name)
        return column

    @contextmanager
    def _settable_identities(self) -> Iterator[None]:
        """Columns that only the server may set can be set meanwhile."""
        names = [name for name in self.entry.columns if self._column(name).identity == "a"]
        self._generate(names, "BY DEFAULT")
        yield
        self._generate(names, "ALWAYS")

    def _generate(self, names: Iterable[str], when: str) -> None:
        for name in names:
            self._run(f"ALTER TABLE {self.table.sql} ALTER {quote(name)} SET GENERATED {when}")

    def _run(self, statement: str) -> int:
        return self.connection.exec_driver_sql(statement).rowcount

    def _number(self, query: str) -> int:
        return int(self.connection.exec_driver_sql(query).scalar_one())


def _set_sequence(connection: Connection, entry: KeptEntry) -> None:
    """Move a sequence to where it was, and never back; one that is there no more has nothing to number."""
    name = ".".join(map(quote, entry.table))
    if connection.exec_driver_sql("SELECT to_regclass($1::text) IS NULL", (name,)).scalar_one():
        return
    connection.exec_driver_sql(
        "SELECT setval($1::text::regclass, CASE WHEN seqincrement > 0 THEN greatest(last_value, $2::bigint) "
        f"ELSE least(last_value, $2::bigint) END) FROM {name}, pg_catalog.pg_sequence "
        "WHERE seqrelid = $1::text::regclass",
        (name, entry.position),
    )
