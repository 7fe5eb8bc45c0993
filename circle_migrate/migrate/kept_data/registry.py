"""Records of kept data, the table that has them in the schema of the side tables, and results about them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Refused
from circle_migrate.core.result import Result, json_fields
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.journal_tables import KEPT_SCHEMA

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.database import Database


class KeptKind(StrEnum):
    """What an entry holds: a dropped table, rows, columns of rows, or the position of a sequence."""

    TABLE = "table"
    ROWS = "rows"
    COLUMNS = "columns"
    SEQUENCE = "sequence"


class KeptState(StrEnum):
    """The state of an entry. A RESTORED entry has its side table while rows of it could not be restored."""

    KEPT = "kept"
    RESTORED = "restored"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """The data that one step of one run removed from one table or sequence.

    `number` counts the entries of a database. `table` is the schema and name of the table or sequence,
    `position` the last value of a sequence. `side_table` is empty for a sequence and after it was dropped;
    `keys` and `columns` are its columns. `restored` counts the restored rows, `missing` all others.
    """

    database: str
    number: int
    run: str
    revision: str
    kind: KeptKind
    table: tuple[str, str]
    side_table: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: int
    created_at: datetime
    state: KeptState = KeptState.KEPT
    position: int | None = None
    restored: int | None = None
    missing: int | None = None

    @property
    def id(self) -> str:
        """Its id on the command line."""
        return f"{self.database}/{self.number}"

    @property
    def name(self) -> str:
        """The name of its table or sequence for messages."""
        return ".".join(self.table)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as the JSON output shows it."""
        return {
            **json_fields(self, "id database run revision kind"),
            "object": self.name,
            "side_table": self.side_table or None,
            **json_fields(self, "keys columns rows created_at state restored missing"),
        }


@dataclass(frozen=True, slots=True)
class KeptRowCount:
    """The number of rows of a table that a run kept or restored; `missing` ones were not restored."""

    database: str
    revision: str
    table: str
    rows: int
    missing: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the count as the JSON output shows it."""
        origin = json_fields(self, "database revision")
        return {**origin, "object": self.table, "rows": self.rows, "missing": self.missing}


@dataclass(frozen=True, slots=True)
class KeptEntries(Result):
    """The result of `kept list`, `kept restore` and `kept drop`; `run` is the run in the journals."""

    entries: tuple[KeptEntry, ...]
    run: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entries, oldest first in every database."""
        return json_fields(self, "run entries")


ENTRIES = f"{KEPT_SCHEMA}.entries"

_MAX_NAME_BYTES = 63
"""Bytes of an identifier; PostgreSQL truncates longer ones (NAMEDATALEN)."""

_CREATE = (
    f"CREATE SCHEMA IF NOT EXISTS {KEPT_SCHEMA}",
    f"""
CREATE TABLE {ENTRIES} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text NOT NULL,
    revision text NOT NULL,
    kind text NOT NULL,
    schema_name text NOT NULL,
    object_name text NOT NULL,
    side_table text NOT NULL,
    keys text[] NOT NULL,
    columns text[] NOT NULL,
    rows bigint NOT NULL,
    position bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state text NOT NULL DEFAULT 'kept' CHECK (state IN ('kept', 'restored', 'dropped')),
    state_at timestamptz,
    restored bigint,
    missing bigint
)
""",
    f"COMMENT ON TABLE {ENTRIES} IS 'circle-migrate: what downgrades have kept (circle-migrate kept list)'",
)
_SELECT = f"""
SELECT number, run, revision, kind, ARRAY[schema_name, object_name] AS "table", side_table, keys, columns,
       rows, created_at, state, position, restored, missing
FROM {ENTRIES} ORDER BY number
"""
_EXISTS = f"SELECT to_regclass('{ENTRIES}') IS NOT NULL"
# A view, a policy, or a type that a user created, could run code of another role.
_IS_OURS = f"""
SELECT relkind = 'r' AND NOT relrowsecurity AND 15 = (SELECT count(*) FROM pg_catalog.pg_attribute
    WHERE attrelid = c.oid AND atttypid < 16384 AND attname = ANY ('{{number,run,revision,kind,schema_name,
    object_name,side_table,keys,columns,rows,created_at,state,position,restored,missing}}'))
FROM pg_catalog.pg_class c WHERE c.oid = to_regclass('{ENTRIES}')
"""
_INSERT = f"""
INSERT INTO {ENTRIES}
    (run, revision, kind, schema_name, object_name, side_table, keys, columns, rows, position)
VALUES ($1, $2, $3, $4, $5, $6, $7::text[], $8::text[], $9, $10)
"""
_UPDATE = f"""
UPDATE {ENTRIES}
SET state = $2, side_table = $3, restored = $4, missing = $5, state_at = clock_timestamp()
WHERE number = $1
"""


def side_table_name(run: str, revision: str, schema: str, table: str) -> str:
    """Return a name from run, revision and table, with a digest that distinguishes truncated names."""
    digest = hashlib.sha256("\0".join((run, revision, schema, table)).encode()).hexdigest()[:10]
    start = f"{run[:8]}_{revision}_{table}".encode()[: _MAX_NAME_BYTES - len(digest) - 1]
    return f"{start.decode(errors='ignore')}_{digest}"


def side_table(name: str) -> str:
    """Return a side table as SQL."""
    return f"{KEPT_SCHEMA}.{quote(name)}"


def ensure_tables(connection: Connection) -> None:
    """Create the schema and the table of entries where they are missing."""
    if not connection.exec_driver_sql(_EXISTS).scalar_one():
        for statement in _CREATE:
            connection.exec_driver_sql(statement)


def add_entry(
    connection: Connection,
    run: str,
    revision: str,
    kind: KeptKind,
    table: tuple[str, str],
    *,
    side: str = "",
    keys: Sequence[str] = (),
    columns: Sequence[str] = (),
    rows: int = 0,
    position: int | None = None,
) -> None:
    """Add an entry."""
    values = (run, revision, str(kind), *table, side, list(keys), list(columns), rows, position)
    connection.exec_driver_sql(_INSERT, values)


def update_entry(
    connection: Connection,
    entry: KeptEntry,
    state: KeptState,
    *,
    keep_side: bool = False,
    restored: int | None = None,
    missing: int | None = None,
) -> None:
    """Set the state of an entry and drop its side table unless `keep_side`."""
    if entry.side_table and not keep_side:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {side_table(entry.side_table)}")
    side = entry.side_table if keep_side else ""
    connection.exec_driver_sql(_UPDATE, (entry.number, str(state), side, restored, missing))


async def read_entries(database: Database) -> tuple[KeptEntry, ...]:
    """Return the entries of a database, oldest first. Raises the errors of connecting."""
    async with database.reading() as connection:
        return await fetch_entries(connection, database.name)


async def fetch_entries(connection: asyncpg.Connection, database: str) -> tuple[KeptEntry, ...]:
    """Return the entries of the database that the driver's connection is open to, oldest first."""
    is_ours = await connection.fetchval(_IS_OURS)
    if is_ours is None:
        return ()
    if not is_ours:
        hint = "rename or drop it, after you have read its definition"
        raise Refused(f"{database}: {ENTRIES} is of another program or role", database=database, hint=hint)
    return tuple(_entry(database, row) for row in await connection.fetch(_SELECT))


def _entry(database: str, row: asyncpg.Record) -> KeptEntry:
    fields = dict(row) | {name: tuple(row[name]) for name in ("table", "keys", "columns")}
    fields |= {"kind": KeptKind(row["kind"]), "state": KeptState(row["state"])}
    return KeptEntry(database=database, **fields)
