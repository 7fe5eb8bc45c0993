"""The list of what is kept, in a schema of its own beside the side tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from circle_migrate.migrate.kept_data.entry import KeptEntry, KeptKind, KeptState
from circle_migrate.postgres.database import KEPT_SCHEMA
from circle_migrate.postgres.identifier import quote

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.database import Database

ENTRIES = f"{KEPT_SCHEMA}.entries"

_LONGEST_NAME = 63
"""Bytes of an identifier; PostgreSQL cuts off the rest (NAMEDATALEN)."""

_MAKE = (
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
_ALL = f"""
SELECT number, run, revision, kind AS what, ARRAY[schema_name, object_name] AS "table", side_table AS side,
       keys, columns, rows, created_at, state, position, restored, missing
FROM {ENTRIES} ORDER BY number
"""
_THERE = f"SELECT to_regclass('{ENTRIES}') IS NOT NULL"
_ADD = f"""
INSERT INTO {ENTRIES}
    (run, revision, kind, schema_name, object_name, side_table, keys, columns, rows, position)
VALUES ($1, $2, $3, $4, $5, $6, $7::text[], $8::text[], $9, $10)
"""
_SETTLE = f"""
UPDATE {ENTRIES}
SET state = $2, side_table = $3, restored = $4, missing = $5, state_at = clock_timestamp()
WHERE number = $1
"""


def archive_table_name(run: str, revision: str, schema: str, table: str) -> str:
    """What a side table is called: by run, revision and table, with a digest that tells long names apart."""
    digest = hashlib.sha256("\0".join((run, revision, schema, table)).encode()).hexdigest()[:10]
    start = f"{run[:8]}_{revision}_{table}".encode()[: _LONGEST_NAME - len(digest) - 1]
    return f"{start.decode(errors='ignore')}_{digest}"


def archive_table(name: str) -> str:
    """A side table in SQL."""
    return f"{KEPT_SCHEMA}.{quote(name)}"


def make(connection: Connection) -> None:
    """Create the schema and the list where they are missing."""
    if not connection.exec_driver_sql(_THERE).scalar_one():
        for statement in _MAKE:
            connection.exec_driver_sql(statement)


def add(
    connection: Connection,
    run: str,
    revision: str,
    what: KeptKind,
    table: tuple[str, str],
    *,
    side: str = "",
    keys: Sequence[str] = (),
    columns: Sequence[str] = (),
    rows: int = 0,
    position: int | None = None,
) -> None:
    """Put an entry on the list."""
    values = (run, revision, str(what), *table, side, list(keys), list(columns), rows, position)
    connection.exec_driver_sql(_ADD, values)


def update_entry(
    connection: Connection,
    entry: KeptEntry,
    state: KeptState,
    *,
    keep_side: bool = False,
    restored: int | None = None,
    missing: int | None = None,
) -> None:
    """Say what has become of an entry; its side table goes unless `keep_side`."""
    if entry.side and not keep_side:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {archive_table(entry.side)}")
    side = entry.side if keep_side else ""
    connection.exec_driver_sql(_SETTLE, (entry.number, str(state), side, restored, missing))


async def read(database: Database) -> tuple[KeptEntry, ...]:
    """The list of a live database, oldest first; nothing is written. Raises what connecting raises."""
    async with database.reading() as connection:
        return await listed(connection, database.name)


async def listed(connection: asyncpg.Connection, database: str) -> tuple[KeptEntry, ...]:
    """The list over an open connection of the driver."""
    if not await connection.fetchval(_THERE):
        return ()
    return tuple(_kept(database, row) for row in await connection.fetch(_ALL))


def _kept(database: str, row: asyncpg.Record) -> KeptEntry:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    values |= {"what": KeptKind(row["what"]), "state": KeptState(row["state"])}
    return KeptEntry(database=database, **values)
