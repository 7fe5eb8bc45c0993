"""Values that a rehearsed step alters by converting their column, compared before and after it, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.postgres.catalog.snapshot import Op
from circle_migrate.postgres.identifier import split_identity

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.safety.trace.record import TracedStatement

# How many values a conversion alters that has no expression of its own, the live database says unrehearsed.
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
       ARRAY(SELECT quote_ident(a.attname) FROM unnest($2::int2[]) WITH ORDINALITY AS wanted (number, place)
             JOIN pg_catalog.pg_attribute a
               ON a.attrelid = $1::bigint::oid AND a.attnum = wanted.number AND NOT a.attisdropped
             ORDER BY place) AS columns
"""


@dataclass(frozen=True, slots=True)
class _Copied:
    """A column whose values were copied to `copy`; `numbers` are its own and those of the primary key."""

    identity: str
    copy: str
    relation: int
    numbers: tuple[int, ...]


@dataclass(slots=True)
class TypeConversionProbe:
    """The columns that steps convert by an expression of their own, by `database@revision`.

    Tables without a primary key are left out, and columns that are part of one: there nothing says which
    value became which.
    """

    statements: Iterable[TracedStatement]
    _copied: list[_Copied] = field(default_factory=list)

    async def before(self, driver: asyncpg.Connection, database: str, revision: str) -> None:
        """Copy the values in the transaction of the step, which has not run yet."""
        self._copied = []
        for number, (table, identity) in enumerate(sorted(self._columns(database, revision))):
            column = split_identity(identity)[-1]
            row = await driver.fetchrow(_COLUMN, table, column)
            if row is None or not row["key"] or row["number"] in row["key"]:
                continue
            made = _Copied(
                identity, f"pg_temp.circle_retyped_{number}", row["relation"], (row["number"], *row["key"])
            )
            found = await _named(driver, made)
            if found is not None:
                values = f"{found[1]} AS key, t.{column}::text AS value"
                query = f"SELECT {values} FROM {table} t WHERE {column} IS NOT NULL"  # noqa: S608 - names as SQL
                await driver.execute(f"CREATE TEMPORARY TABLE {made.copy} AS {query}")
                self._copied.append(made)

    async def after(self, driver: asyncpg.Connection) -> dict[str, int]:
        """How many values of each column are others now; rows that are not there any more do not count."""
        altered = {}
        for made in self._copied:
            found = await _named(driver, made)
            if found is not None:
                relation, key, column = found
                rows = f"{made.copy} s JOIN {relation} t ON s.key = {key}"
                query = f"SELECT count(*) FROM {rows} WHERE s.value IS DISTINCT FROM t.{column}::text"  # noqa: S608
                altered[made.identity] = await driver.fetchval(query)
            await driver.execute(f"DROP TABLE {made.copy}")
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


async def _named(driver: asyncpg.Connection, made: _Copied) -> tuple[str, str, str] | None:
    """What the relation, its key and the column are called now; None where one is not there any more."""
    row = await driver.fetchrow(_NAMES, made.relation, list(made.numbers))
    if row["relation"] is None or len(row["columns"]) != len(made.numbers):
        return None
    column, *key = row["columns"]
    return row["relation"], f"ROW({', '.join(f't.{each}' for each in key)})::text", column
