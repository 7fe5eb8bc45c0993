"""The keys in one column of a live database: where it is, all of them in order, and whether some are there.

Both servers and Python have to agree on the order. Integers have one; anything else is compared byte by
byte, text as the bytes of its UTF-8, whatever the encodings and collations of the databases are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from circle_migrate.config.relation import Column
from circle_migrate.core.errors import MissingPrivilege, SettingsError

if TYPE_CHECKING:
    import asyncpg

# Domains are followed to what they are made of. The search_path is read rather than asked for, as the server
# leaves out of it what the role may not use.
_LOCATE = """
WITH RECURSIVE place AS (
    SELECT btrim(name, '" ') AS name, number FROM unnest(
        string_to_array(coalesce($1::text, current_setting('search_path')), ',')
    ) WITH ORDINALITY AS listed (name, number)
), relation AS (
    SELECT c.oid, n.oid AS schema, n.nspname, c.relname, c.reltuples
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
       row_security_active(r.oid) AS filtered,
       has_schema_privilege(r.schema, 'USAGE') AS usable,
       has_column_privilege(r.oid, k.attnum, 'SELECT') AS readable,
       format_type(k.type, k.modifier) AS type, format_type(k.type, NULL) AS bare
FROM relation r LEFT JOIN kind k
     ON NOT EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = k.type AND t.typtype = 'd')
"""


class Family(Enum):
    """Types whose values can be compared with one another."""

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
    """A column that is there and can be read: `relation` and `name` as SQL, `rows` the server's estimate."""

    column: Column
    relation: str
    name: str
    type: str
    family: Family
    rows: int


class MissingColumn(str):
    """Why a column cannot be looked at: it, or its table, is not there."""

    __slots__ = ()


async def locate(connection: asyncpg.Connection, column: Column) -> KeyColumn | MissingColumn:
    """The column in the catalogue. Raises `MissingPrivilege`, or `SettingsError` for a type of no key."""
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
            hint="a relation is over columns of integers, uuid, text or bytea",
        )
    return KeyColumn(column, row["relation"], row["name"], row["type"], family, max(row["rows"], 0))


def _ensure_readable(row: asyncpg.Record, column: Column) -> None:
    relation, schema, role = row["relation"], row["schema"], f'"{row["role"]}"'
    if not row["usable"]:
        lacking, hint = f"use the schema {schema}", f"GRANT USAGE ON SCHEMA {schema} TO {role};"
    elif not row["readable"]:
        lacking, hint = f"read {column.within}", f"GRANT SELECT ({row['name']}) ON {relation} TO {role};"
    elif row["filtered"]:
        lacking = f"see all rows of {relation}: row-level security hides some"
        hint = f"ALTER ROLE {role} BYPASSRLS;"
    else:
        return
    raise MissingPrivilege(
        f"{column.database}: the role may not {lacking}", database=column.database, hint=hint
    )


@dataclass(frozen=True, slots=True)
class KeyEncoding:
    """How the keys of a column are read, so that both sides give the same for the same key.

    `family` is the one they are compared as: that of both columns, or text where these differ.
    """

    located: KeyColumn
    family: Family

    @property
    def _ordered(self) -> str:
        """What the keys are ordered by, as SQL: an integer, a uuid, or bytes."""
        name, own = self.located.name, self.located.family
        if self.family is not Family.TEXT:
            return name
        text = f"encode({name}, 'hex')" if own is Family.BYTES else f"{name}::text"
        return f"convert_to({text}, 'UTF8')"

    @property
    def _written(self) -> str:
        """What is sent of a key, as SQL: digits that are ordered as the key is."""
        plain = self.family in (Family.INTEGER, Family.UUID)
        return self._ordered if plain else f"encode({self._ordered}, 'hex')"

    @property
    def query(self) -> str:
        """All keys in ascending order."""
        located = self.located
        return (
            f"SELECT {self._written} FROM {located.relation} "
            f"WHERE {located.name} IS NOT NULL ORDER BY {self._ordered}"
        )

    @property
    def is_among(self) -> str:
        """Those of the keys in the parameter that are there."""
        array = {Family.INTEGER: "bigint", Family.UUID: "uuid"}.get(self.family, "bytea")
        text = "" if self.family is Family.INTEGER else "::text"
        return (
            f"SELECT DISTINCT ({self._written}){text} FROM {self.located.relation} "
            f"WHERE {self._ordered} = ANY($1::text[]::{array}[])"
        )

    def parsed(self, lines: list[bytes]) -> list[Any]:
        """Keys as Python orders them."""
        return list(map(int, lines)) if self.family is Family.INTEGER else lines

    def parameter(self, keys: Iterable[Any]) -> list[str]:
        """The keys as `among` takes them: as texts, whose type the driver need not look up."""
        match self.family:
            case Family.INTEGER:
                return list(map(str, keys))
            case Family.UUID:
                return [key.decode() for key in keys]
        return [f"\\x{key.decode()}" for key in keys]

    def shown(self, key: Any) -> str:
        """A key as people write it."""
        match self.family:
            case Family.INTEGER:
                return str(key)
            case Family.UUID:
                return str(key.decode())
            case Family.BYTES:
                return f"\\x{key.decode()}"
        return bytes.fromhex(key.decode()).decode()


async def existing_keys(connection: asyncpg.Connection, form: KeyEncoding, keys: Iterable[Any]) -> set[Any]:
    """Which of the keys are there."""
    rows = await connection.fetch(form.is_among, form.parameter(keys))
    return {row[0] if form.family is Family.INTEGER else row[0].encode() for row in rows}
