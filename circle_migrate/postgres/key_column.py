"""Keys in a column of a live database: find the column, read the keys in order, and search for keys.

Both servers and Python must agree on the order. Integers are compared as numbers, other keys byte by byte,
text as UTF-8, independent of encodings and collations of the databases.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import asyncpg

from circle_migrate.config.relation import ColumnReference
from circle_migrate.core.errors import MissingPrivilege, SettingsError
from circle_migrate.postgres.search_path import TRUSTED_OWNERS

# Domains are resolved to their base types. The setting search_path is parsed, because current_schemas() omits
# schemas that the role may not use.
_LOCATE = f"""
WITH RECURSIVE place AS (
    SELECT btrim(name, '" ') AS name, number FROM unnest(
        string_to_array(coalesce($1::text, current_setting('circle_migrate.search_path', true),
                                 current_setting('search_path')), ',')
    ) WITH ORDINALITY AS entry (name, number)
), relation AS (
    SELECT c.oid, n.oid AS schema, n.nspname, c.relname, c.reltuples, c.relkind IN ('v', 'f')
           AND has_schema_privilege(n.oid, 'CREATE') AND c.relowner NOT IN ({TRUSTED_OWNERS}) AS foreign
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN place ON place.name = n.nspname
    WHERE c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY place.number LIMIT 1
), kind AS (
    SELECT a.attnum, a.atttypid AS type, a.atttypmod AS modifier
    FROM pg_catalog.pg_attribute a JOIN relation ON relation.oid = a.attrelid
    WHERE a.attname = $3 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT kind.attnum, t.typbasetype, t.typtypmod
    FROM kind JOIN pg_catalog.pg_type t ON t.oid = kind.type WHERE t.typtype = 'd'
)
SELECT format('%I.%I', r.nspname, r.relname) AS relation, format('%I', $3::text) AS name,
       format('%I', r.nspname) AS schema, r.reltuples::bigint AS rows, current_user AS role,
       row_security_active(r.oid) AS filtered, r.foreign,
       has_schema_privilege(r.schema, 'USAGE') AS usable,
       has_column_privilege(r.oid, k.attnum, 'SELECT') AS readable,
       format_type(k.type, k.modifier) AS type, format_type(k.type, NULL) AS bare
FROM relation r LEFT JOIN kind k
     ON NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = k.type AND t.typtype = 'd')
"""


class Family(Enum):
    """Group of types whose values can be compared with each other."""

    INTEGER = "integer"
    UUID = "uuid"
    TEXT = "text"
    BYTES = "bytea"


_FAMILIES = {
    **dict.fromkeys(("smallint", "integer", "bigint"), Family.INTEGER),
    **dict.fromkeys(("text", "character varying", "character"), Family.TEXT),
    "uuid": Family.UUID,
    "bytea": Family.BYTES,
}


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A readable column; `relation` and `name` are quoted, `rows` is the server's estimate."""

    column: ColumnReference
    relation: str
    name: str
    type: str
    family: Family
    rows: int


class MissingColumn(str):
    """Message that a column or its table does not exist."""

    __slots__ = ()


async def find_column(connection: asyncpg.Connection, column: ColumnReference) -> KeyColumn | MissingColumn:
    """Find a column. Raises `MissingPrivilege`, or `SettingsError` for a type that cannot be compared."""
    row = await connection.fetchrow(_LOCATE, column.schema, column.table, column.name)
    if row is None:
        return MissingColumn(f"{column.database} has no table {column.table}")
    if row["type"] is None:
        return MissingColumn(f"{column.database} has no column {column.within}")
    _ensure_readable(row, column)
    family = _FAMILIES.get(row["bare"])
    if family is None:
        raise SettingsError(
            f"{column}: values of type {row['type']} cannot be compared across databases",
            database=column.database,
            hint="use columns of type smallint, integer, bigint, uuid, text or bytea in the relation",
        )
    return KeyColumn(column, row["relation"], row["name"], row["type"], family, max(row["rows"], 0))


def _ensure_readable(row: asyncpg.Record, column: ColumnReference) -> None:
    relation, schema, role = row["relation"], row["schema"], f'"{row["role"]}"'
    if not row["usable"]:
        denied, hint = f"use the schema {schema}", f"GRANT USAGE ON SCHEMA {schema} TO {role};"
    elif not row["readable"]:
        denied, hint = f"read {column.within}", f"GRANT SELECT ({row['name']}) ON {relation} TO {role};"
    elif row["filtered"]:
        denied = f"see all rows of {relation}: row-level security hides some"
        hint = f"ALTER ROLE {role} BYPASSRLS;"
    elif row["foreign"]:
        denied = f"run functions of another role: {relation} is its view or foreign table"
        hint = "run the command as a role without CREATE on the schema"
    else:
        return
    raise MissingPrivilege(
        f"{column.database}: the role may not {denied}", database=column.database, hint=hint
    )


@dataclass(frozen=True, slots=True)
class KeyEncoding:
    """How keys are read, equal in Python on both sides; `family` is that of both columns, or text."""

    located: KeyColumn
    family: Family

    @property
    def _sort_expression(self) -> str:
        """The SQL expression that keys are ordered by: an integer, a uuid, or bytes."""
        name, own = self.located.name, self.located.family
        if self.family is not Family.TEXT:
            return name
        text = f"encode({name}, 'hex')" if own is Family.BYTES else f"{name}::text"
        return f"convert_to({text}, 'UTF8')"

    @property
    def _output_expression(self) -> str:
        """The SQL expression of a key in the output, whose text has the order of the key."""
        is_text = self.family not in (Family.INTEGER, Family.UUID)
        return f"encode({self._sort_expression}, 'hex')" if is_text else self._sort_expression

    @property
    def query(self) -> str:
        """The query for all keys in ascending order."""
        return (
            f"SELECT {self._output_expression} FROM {self.located.relation} "
            f"WHERE {self.located.name} IS NOT NULL ORDER BY {self._sort_expression}"
        )

    @property
    def search_query(self) -> str:
        """The query for those keys of the parameter that exist."""
        array = {Family.INTEGER: "bigint", Family.UUID: "uuid"}.get(self.family, "bytea")
        text = "" if self.family is Family.INTEGER else "::text"
        return (
            f"SELECT DISTINCT ({self._output_expression}){text} FROM {self.located.relation} "
            f"WHERE {self._sort_expression} = ANY($1::text[]::{array}[])"
        )

    def parse_keys(self, lines: list[bytes]) -> list[Any]:
        """Parse keys of the output of `query` into values that Python orders alike."""
        return list(map(int, lines)) if self.family is Family.INTEGER else lines

    def parameter(self, keys: Iterable[Any]) -> list[str]:
        """Return the parameter of `search_query`; for texts, the driver need not look up a type."""
        if self.family is Family.INTEGER:
            return list(map(str, keys))
        prefix = "" if self.family is Family.UUID else "\\x"
        return [prefix + key.decode() for key in keys]

    def format_key(self, key: Any) -> str:
        """Format a key for people."""
        match self.family:
            case Family.INTEGER:
                return str(key)
            case Family.UUID:
                return str(key.decode())
            case Family.BYTES:
                return f"\\x{key.decode()}"
        return bytes.fromhex(key.decode()).decode()


async def existing_keys(
    connection: asyncpg.Connection, encoding: KeyEncoding, keys: Iterable[Any]
) -> set[Any]:
    """Return those of the keys that exist."""
    rows = await connection.fetch(encoding.search_query, encoding.parameter(keys))
    return {row[0] if encoding.family is Family.INTEGER else row[0].encode() for row in rows}
