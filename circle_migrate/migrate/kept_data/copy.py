"""Copy data into side tables before a step, and leave in them after it what the step removed.

A side table has the primary key, the columns that may be lost, and in `LOST_COLUMNS` the names of those that
were lost; null stands for the whole row. Values whose type or collation a user created are stored as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.registry import KeptKind
from circle_migrate.migrate.kept_data.tables import Table, TableColumn, TableLoss, TablesState
from circle_migrate.postgres.identifier import FIRST_OID, literal, quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

LOST_COLUMNS = "circle-migrate lost"
"""The column of side tables with the names of the lost columns."""


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of a table's data before the step: `rows` in the side table `name`."""

    loss: TableLoss
    name: str
    rows: int = 0

    @property
    def side(self) -> str:
        """The side table as SQL."""
        return registry.side_table(self.name)

    @property
    def keys(self) -> tuple[TableColumn, ...]:
        """The columns of the primary key."""
        return tuple(self.loss.table.columns[number] for number in self.loss.table.key)

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        """The columns that may be lost, in the table's order."""
        numbers = sorted(self.loss.numbers.difference(self.loss.table.key))
        return tuple(self.loss.table.columns[number] for number in numbers)

    @property
    def kind(self) -> KeptKind:
        """The kind of its entry."""
        if self.loss.dropped:
            return KeptKind.TABLE
        return KeptKind.ROWS if self.loss.rows else KeptKind.COLUMNS

    def count(self, connection: Connection) -> int:
        """Return the number of rows in the side table."""
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {self.side}").scalar_one())


def copy(connection: Connection, database: str, run: str, revision: str, loss: TableLoss) -> Copy:
    """Lock a table against writes and copy what will be lost. Raises `Refused` without a primary key."""
    table = loss.table
    # Reads go on: the statement that drops the table or column waits for them.
    connection.exec_driver_sql(f"LOCK TABLE {table.rows} IN SHARE ROW EXCLUSIVE MODE")
    table_copy = Copy(loss, registry.side_table_name(run, revision, table.schema, table.name))
    values = [_stored_value(column) for column in (*table_copy.keys, *table_copy.columns)]
    values.append(f"NULL::text[] AS {quote(LOST_COLUMNS)}")
    with without_row_security(connection):
        query = f"SELECT {', '.join(values)} FROM {table.rows} t{_condition(loss)}"
        connection.exec_driver_sql(f"CREATE TABLE {table_copy.side} AS {query}")
    table_copy = replace(table_copy, rows=table_copy.count(connection))
    if table_copy.rows and not loss.dropped:
        _ensure_key(database, revision, table_copy)
    return table_copy


def _stored_value(column: TableColumn) -> str:
    name = quote(column.name)
    if column.has_user_type:
        return f"t.{name}::text AS {name}"
    return f't.{name} COLLATE "default" AS {name}' if column.collation >= FIRST_OID else f"t.{name}"


def _condition(loss: TableLoss) -> str:
    if loss.dropped or loss.rows or loss.every_row:
        return ""
    names = (loss.table.columns[number].name for number in sorted(loss.numbers))
    return " WHERE " + " OR ".join(f"t.{quote(name)} IS NOT NULL" for name in names)


def _ensure_key(database: str, revision: str, table_copy: Copy) -> None:
    loss = table_copy.loss
    if not loss.table.key:
        reason = "has no primary key"
    elif not loss.rows and loss.numbers.intersection(loss.table.key):
        reason = "loses its primary key"
    else:
        return
    lost = ", ".join(column.name for column in table_copy.columns) or "rows"
    raise Refused(
        f"{database}: {revision} removes {lost} of {loss.table.label}, which {reason}: "
        "the data could be kept, but not restored to the right rows",
        database=database,
        state="the transaction of this step was rolled back",
        hint="give the table a primary key, or leave out --keep and make a backup",
    )


def record_kept_rows(
    connection: Connection, run: str, revision: str, table_copy: Copy, after: TablesState
) -> int:
    """Delete from the side table what the step did not remove; record the rest. Return the number of rows."""
    table = table_copy.loss.table
    present = after.tables.get(table.oid)
    if present is not None and table_copy.rows:
        connection.exec_driver_sql(_comparison(table_copy, present))
        connection.exec_driver_sql(f"DELETE FROM {table_copy.side} WHERE {quote(LOST_COLUMNS)} = '{{}}'")
    rows = table_copy.count(connection)
    if not rows:
        connection.exec_driver_sql(f"DROP TABLE {table_copy.side}")
        return 0
    registry.add_entry(
        connection,
        run,
        revision,
        table_copy.kind,
        (table.schema, table.name),
        side=table_copy.name,
        keys=[column.name for column in table_copy.keys],
        columns=[column.name for column in table_copy.columns],
        rows=rows,
    )
    return rows


def _comparison(table_copy: Copy, present: Table) -> str:
    """Return the statement that sets the lost columns of the rows that are still in the table.

    A column that was dropped and added again counts as lost: the upgrade drops and adds it as well.
    """
    cases = [_lost_name(column, present) for column in table_copy.columns]
    lost = f"array_remove(ARRAY[{', '.join(cases)}]::text[], NULL)" if cases else "'{}'"
    same_key = " AND ".join(_same_key(column, present.columns[column.number]) for column in table_copy.keys)
    update = f"UPDATE {table_copy.side} s SET {quote(LOST_COLUMNS)} = {lost}"
    return f"{update} FROM {present.rows} t WHERE {same_key}"


def _same_key(key: TableColumn, present: TableColumn) -> str:
    stored, value = f"s.{quote(key.name)}", f"t.{quote(present.name)}"
    as_text = key.has_user_type or key.type_oid != present.type_oid
    return f"{stored}::text = {value}::text" if as_text else f"{stored} = {value}"


def _lost_name(column: TableColumn, table: Table) -> str:
    """Return the expression for the column's name where its value is lost, else null."""
    name, present = quote(column.name), table.columns.get(column.number)
    if present is not None:
        differs = f"s.{name}::text IS DISTINCT FROM t.{quote(present.name)}::text"
    else:
        differs = "true" if table.column(column.name) else f"s.{name} IS NOT NULL"
    return f"CASE WHEN {differs} THEN {literal(column.name)} END"


@contextmanager
def without_row_security(connection: Connection) -> Iterator[None]:
    """Let statements fail where a policy would hide rows from them."""
    row_security = connection.exec_driver_sql("SHOW row_security").scalar_one()
    connection.exec_driver_sql("SET LOCAL row_security = off")
    yield
    connection.exec_driver_sql(f"SET LOCAL row_security = {row_security}")
