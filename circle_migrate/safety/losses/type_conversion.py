"""Compare values before and after a rehearsed step that converts their column, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg

from circle_migrate.postgres.catalog.snapshot import Op
from circle_migrate.postgres.identifier import split_identity
from circle_migrate.safety.trace.record import TracedStatement

# Conversions without an expression are counted by probes, without a rehearsal.
_OWN_EXPRESSION = re.compile(r"\bUSING\b", re.IGNORECASE)

_COLUMN = """
SELECT a.attrelid::bigint AS relation, a.attnum AS number,
       ARRAY(SELECT unnest(indkey::int2[]) FROM pg_catalog.pg_index
             WHERE indrelid = a.attrelid AND indisprimary) AS key
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = to_regclass($1) AND quote_ident(a.attname) = $2
  AND has_database_privilege(current_database(), 'TEMPORARY')
"""
_NAMES = """
SELECT (SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::bigint::oid) AS relation,
       ARRAY(SELECT quote_ident(a.attname) FROM unnest($2::int2[]) WITH ORDINALITY AS asked (number, position)
             JOIN pg_catalog.pg_attribute a
               ON a.attrelid = $1::bigint::oid AND a.attnum = asked.number AND NOT a.attisdropped
             ORDER BY position) AS columns
"""


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of a column's values in `table`; `numbers` are those of the column and of the primary key."""

    identity: str
    table: str
    relation: int
    numbers: tuple[int, ...]


@dataclass(slots=True)
class TypeConversionProbe:
    """A comparison of columns that steps convert by an expression of the revision.

    Columns in a primary key, or of a table without one, are left out: their old and new values cannot be
    matched.
    """

    statements: Iterable[TracedStatement]
    _copies: list[_Copy] = field(default_factory=list)

    async def before(self, driver: asyncpg.Connection, database: str, revision: str) -> None:
        """Copy the values, in the transaction of the step and before it."""
        self._copies = []
        for number, (table, identity) in enumerate(sorted(self._columns(database, revision))):
            column = split_identity(identity)[-1]
            row = await driver.fetchrow(_COLUMN, table, column)
            if row is None or not row["key"] or row["number"] in row["key"]:
                continue
            numbers = (row["number"], *row["key"])
            copy = _Copy(identity, f"pg_temp.circle_retyped_{number}", row["relation"], numbers)
            names = await _current_names(driver, copy)
            if names is not None:
                values = f"{names[1]} AS key, t.{column}::text AS value"
                query = f"SELECT {values} FROM {table} t WHERE {column} IS NOT NULL"  # noqa: S608 - names as SQL
                await driver.execute(f"CREATE TEMPORARY TABLE {copy.table} AS {query}")
                self._copies.append(copy)

    async def after(self, driver: asyncpg.Connection) -> dict[str, int]:
        """Return the number of altered values by column, without those of deleted rows."""
        altered = {}
        for copy in self._copies:
            names = await _current_names(driver, copy)
            if names is not None:
                relation, key, column = names
                rows = f"{copy.table} s JOIN {relation} t ON s.key = {key}"
                query = f"SELECT count(*) FROM {rows} WHERE s.value IS DISTINCT FROM t.{column}::text"  # noqa: S608
                altered[copy.identity] = await driver.fetchval(query)
            await driver.execute(f"DROP TABLE {copy.table}")
        return altered

    def _columns(self, database: str, revision: str) -> set[tuple[str, str]]:
        return {
            (change.owner.identity, change.key.identity)
            for statement in self.statements
            if (statement.database, statement.revision) == (database, revision)
            and _OWN_EXPRESSION.search(statement.sql)
            for change in statement.changes
            if change.op is Op.CHANGED and change.key.kind == "column" and "type" in change.fields
            if change.owner is not None
        }


async def _current_names(driver: asyncpg.Connection, copy: _Copy) -> tuple[str, str, str] | None:
    """Return the relation, its key as an expression, and the column; None where one no longer exists."""
    row = await driver.fetchrow(_NAMES, copy.relation, list(copy.numbers))
    if row["relation"] is None or len(row["columns"]) != len(copy.numbers):
        return None
    column, *key = row["columns"]
    return row["relation"], f"ROW({', '.join(f't.{name}' for name in key)})::text", column
