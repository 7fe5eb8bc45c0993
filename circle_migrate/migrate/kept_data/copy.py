"""Copies into side tables before a step, and the comparison after it that leaves in them what the step took.

A side table has the primary key and the columns that may go, and in `LOST_COLUMNS` the names of those that did; null
stands for the whole row. Values of types and under collations that somebody may drop are kept as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.kept_data import registry
from circle_migrate.migrate.kept_data.entry import KeptKind
from circle_migrate.migrate.kept_data.tables import Column, Table, TableLoss, TablesState
from circle_migrate.postgres.identifier import literal, quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

LOST_COLUMNS = "circle-migrate lost"
"""The column of side tables that names the columns which were lost."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What was copied of a table before the step, `rows` of them."""

    going: TableLoss
    side: str
    rows: int

    @property
    def keys(self) -> tuple[Column, ...]:
        """The columns of the primary key."""
        return tuple(self.going.table.columns[number] for number in self.going.table.key)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that may be lost, in the table's order."""
        key = self.going.table.key
        numbers = sorted(number for number in self.going.numbers if number not in key)
        return tuple(self.going.table.columns[number] for number in numbers)

    @property
    def what(self) -> KeptKind:
        """What its entry is."""
        if self.going.dropped:
            return KeptKind.TABLE
        return KeptKind.ROWS if self.going.rows else KeptKind.COLUMNS


def copy(connection: Connection, database: str, run: str, revision: str, going: TableLoss) -> Copy:
    """Lock a table against writers and copy what is going to be lost.

    Raises `Refused` where there is something to lose, and no primary key by which it could be put back.
    """
    table = going.table
    # Only writers: whoever drops the table or a column waits for the readers anyway.
    connection.exec_driver_sql(f"LOCK TABLE {table.rows} IN SHARE ROW EXCLUSIVE MODE")
    side = registry.archive_table_name(run, revision, table.schema, table.name)
    made = Copy(going, side, 0)
    wanted = ", ".join(
        [
            *(_kept_as(column) for column in (*made.keys, *made.columns)),
            f"NULL::text[] AS {quote(LOST_COLUMNS)}",
        ]
    )
    with without_row_security(connection):
        query = f"SELECT {wanted} FROM {table.rows} t{_worth_keeping(made)}"
        connection.exec_driver_sql(f"CREATE TABLE {registry.archive_table(side)} AS {query}")
    rows = _count(connection, side)
    if rows and not going.dropped:
        _ensure_key(database, revision, made)
    return Copy(going, side, rows)


def _kept_as(column: Column) -> str:
    name = quote(column.name)
    if column.own_type:
        return f"t.{name}::text AS {name}"
    return f't.{name} COLLATE "default" AS {name}' if column.own_collation else f"t.{name}"


def _worth_keeping(made: Copy) -> str:
    going = made.going
    if going.dropped or going.rows or going.every_row:
        return ""
    return " WHERE " + " OR ".join(
        f"t.{quote(going.table.columns[number].name)} IS NOT NULL" for number in sorted(going.numbers)
    )


def _ensure_key(database: str, revision: str, made: Copy) -> None:
    table = made.going.table
    lost = ", ".join(column.name for column in made.columns) or "rows"
    if not table.key:
        reason = "has no primary key"
    elif not made.going.rows and made.going.numbers.intersection(table.key):
        reason = "loses its primary key"
    else:
        return
    raise Refused(
        f"{database}: {revision} takes {lost} of {table.schema}.{table.name}, which {reason}: "
        "it could be kept, but not put back into the right rows",
        database=database,
        state="the transaction of this step was rolled back",
        hint="give the table a primary key, or leave out --keep and take a backup",
    )


def record_kept_rows(connection: Connection, run: str, revision: str, made: Copy, after: TablesState) -> int:
    """Once the step has run: leave in the side table what it took and list it; returns how many rows."""
    side = registry.archive_table(made.side)
    now = after.tables.get(made.going.table.oid)
    if now is not None and made.rows:
        connection.exec_driver_sql(_comparison(made, now))
        connection.exec_driver_sql(f"DELETE FROM {side} WHERE {quote(LOST_COLUMNS)} = '{{}}'")
    rows = _count(connection, made.side)
    if not rows:
        connection.exec_driver_sql(f"DROP TABLE {side}")
        return 0
    table = made.going.table
    registry.add(
        connection,
        run,
        revision,
        made.what,
        (table.schema, table.name),
        side=made.side,
        keys=[column.name for column in made.keys],
        columns=[column.name for column in made.columns],
        rows=rows,
    )
    return rows


def _comparison(made: Copy, now: Table) -> str:
    """The statement that says of each kept row which of its columns are not what they were.

    A column that was made anew counts as lost whatever is in it: the way up will make it anew as well.
    """
    cases = [_case(column, now) for column in made.columns]
    lost = f"array_remove(ARRAY[{', '.join(cases)}]::text[], NULL)" if cases else "'{}'"
    matches = " AND ".join(_same_key(column, now.columns[column.number]) for column in made.keys)
    side = registry.archive_table(made.side)
    return f"UPDATE {side} s SET {quote(LOST_COLUMNS)} = {lost} FROM {now.rows} t WHERE {matches}"


def _same_key(key: Column, now: Column) -> str:
    name, other = f"s.{quote(key.name)}", f"t.{quote(now.name)}"
    as_text = key.own_type or key.type_oid != now.type_oid
    return f"{name}::text = {other}::text" if as_text else f"{name} = {other}"


def _case(column: Column, table: Table) -> str:
    name, now = quote(column.name), table.columns.get(column.number)
    if now is not None:
        differs = f"s.{name}::text IS DISTINCT FROM t.{quote(now.name)}::text"
    else:
        differs = "true" if table.named(column.name) else f"s.{name} IS NOT NULL"
    return f"CASE WHEN {differs} THEN {literal(column.name)} END"


@contextmanager
def without_row_security(connection: Connection) -> Iterator[None]:
    """Where a policy would hide rows, let statements fail rather than leave them out."""
    before = connection.exec_driver_sql("SHOW row_security").scalar_one()
    connection.exec_driver_sql("SET LOCAL row_security = off")
    yield
    connection.exec_driver_sql(f"SET LOCAL row_security = {before}")


def _count(connection: Connection, side: str) -> int:
    return int(
        connection.exec_driver_sql(f"SELECT count(*) FROM {registry.archive_table(side)}").scalar_one()
    )
