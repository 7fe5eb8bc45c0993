"""Measure what operations do to rows, to other sessions and to the running release.

The operations are those that the documentation of other tools calls safe or unsafe, on one schema.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from circle_migrate.safety.trace.record import Lock
from tests.safety.safety_cases import SafetyCase
from tests.safety.safety_operations import DOCUMENTED

_FILE = Path(__file__).parent / DOCUMENTED
PART = 0.5
"""The part of a large table from which reading or writing it counts as work."""

_LOCKS = """
SELECT c.oid::bigint AS oid, array_agg(l.mode) AS modes FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = $1 AND c.oid::bigint = ANY ($2) GROUP BY c.oid
"""
_READ = """
SELECT oid::bigint AS oid, pg_stat_get_xact_tuples_returned(oid) AS read,
       pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
       + pg_stat_get_xact_tuples_deleted(oid) AS written,
       ARRAY(SELECT pg_relation_filenode(r) FROM (SELECT pg_class.oid UNION SELECT indexrelid FROM pg_index
             WHERE indrelid = pg_class.oid) f (r) ORDER BY 1) AS files
FROM pg_class WHERE oid::bigint = ANY ($1)
"""
_VIEWS = "SELECT oid::bigint FROM pg_class WHERE oid::bigint = ANY ($1) AND relkind = 'm'"
_COLUMNS = """
SELECT c.oid::bigint AS oid, c.oid::regclass::text AS name,
       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
             ORDER BY attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_|^information_schema$'
"""


@dataclass(frozen=True)
class Schema:
    """The schema and rows of all operations, and statements of the running release.

    Those in `may` are rare in releases; those in `refused` fail before an operation.
    """

    schema: str
    rows: str
    sizes: dict[str, int]
    release: list[str]
    may: list[str]
    refused: list[str]


@dataclass
class Effects:
    """Whether others wait for work or many rows are written, and the tables with ACCESS EXCLUSIVE locks."""

    blocked: bool = False
    written: bool = False
    exclusive: set[int] = field(default_factory=set)


def documented() -> tuple[Schema, list[dict[str, Any]]]:
    """Return the schema, and the operations with the tool and its verdict."""
    first, *rest = (json.loads(line) for line in _FILE.read_text(encoding="utf-8").splitlines())
    return Schema(**first), rest


async def measure(url: str, schema: Schema, case: SafetyCase) -> str:
    """Return the verdict of an operation by its effects in a database with the schema and rows."""
    connection, observer = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        names = [name for name, rows in schema.sizes.items() if rows > 1]
        large = [await connection.fetchval("SELECT $1::regclass::oid::bigint", name) for name in names]
        before, effects = await values_of(connection), Effects()
        for transactional, group in case.transactions:
            if transactional:
                await connection.execute("BEGIN")
            for statement in group:
                try:
                    await run_statement(
                        connection, observer, statement, large, effects, transactional=transactional
                    )
                except asyncpg.PostgresError:
                    return "danger"
        if not connection.is_in_transaction():
            await connection.execute("BEGIN")
        return await _verdict(connection, schema, before, effects)
    finally:
        await connection.close()
        await observer.close()


async def run_statement(
    connection: asyncpg.Connection,
    observer: asyncpg.Connection,
    statement: str,
    large: Sequence[int],
    effects: Effects,
    *,
    transactional: bool,
    rows: int = 20_000,
) -> None:
    """Run a statement and add its locks and its work on large tables, which have so many rows."""
    pid = connection.get_server_pid()
    before = {row["oid"]: row for row in await connection.fetch(_READ, large)}
    seen: dict[int, set[str]] = {}
    if transactional:
        await connection.execute(statement)
        _add_locks(seen, await observer.fetch(_LOCKS, pid, large))
    else:
        # A reader of every table lets the locks be seen that the statement waits for or has.
        await observer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        for oid in large:
            await observer.execute(f"LOCK TABLE {await _name(observer, oid)} IN ACCESS SHARE MODE")
        running = asyncio.create_task(connection.execute(statement))
        for _ in range(20):
            await asyncio.sleep(0.01)
            _add_locks(seen, await observer.fetch(_LOCKS, pid, large))
        await observer.execute("ROLLBACK")
        await running
    strongest = {oid: max(Lock[mode.removesuffix("Lock")] for mode in modes) for oid, modes in seen.items()}
    effects.exclusive |= {oid for oid, mode in strongest.items() if mode is Lock.AccessExclusive}
    views = {row[0] for row in await connection.fetch(_VIEWS, large)}  # nobody else writes them
    blocking = any(
        mode.blocks_reads or (mode.blocks_writes and oid not in views) for oid, mode in strongest.items()
    )
    for row in await connection.fetch(_READ, large):
        old = before[row["oid"]]
        written = transactional and row["written"] - old["written"] > rows * PART
        read = transactional and row["read"] - old["read"] > rows * PART
        rewritten = bool(set(row["files"]) - set(old["files"])) and strongest.get(row["oid"], 0) >= Lock.Share
        effects.written |= written
        effects.blocked |= blocking and (written or read or rewritten)


async def _name(connection: asyncpg.Connection, oid: int) -> str:
    """Return the name of a table; LOCK TABLE takes no materialized view."""
    name = "CASE WHEN relkind <> 'm' THEN oid::regclass::text ELSE 'users' END"
    return str(await connection.fetchval(f"SELECT {name} FROM pg_class WHERE oid = $1", oid))


def _add_locks(seen: dict[int, set[str]], rows: Sequence[Any]) -> None:
    for row in rows:
        seen.setdefault(row["oid"], set()).update(row["modes"])


async def values_of(connection: asyncpg.Connection) -> dict[tuple[int, str], int]:
    """Return the number of rows of each table, under "", and of the values of each column."""
    values: dict[tuple[int, str], int] = {}
    for oid, name, columns in await connection.fetch(_COLUMNS):
        counts = ", ".join(f'count("{column}")' for column in columns)
        row = await connection.fetchrow(f"SELECT count(*), {counts} FROM {name}" if columns else "SELECT 0")
        values |= dict(zip([(oid, ""), *((oid, column) for column in columns)], row or (), strict=True))
    return values


async def _verdict(
    connection: asyncpg.Connection, schema: Schema, before: dict[tuple[int, str], int], effects: Effects
) -> str:
    after = await values_of(connection)
    tables = {oid for oid, column in after if not column}
    renamed = {
        oid for oid in tables if {c for o, c in before if o == oid} - {c for o, c in after if o == oid}
    }
    lost = any(
        count > after.get(key, 0)
        for key, count in before.items()
        if key[0] not in renamed or not key[1] or len(_columns(before, key[0])) > len(_columns(after, key[0]))
    )
    fails = [not await _succeeds(connection, sql) for sql in schema.release]
    if effects.blocked or lost or any(fails):
        return "danger"
    may_fail = [not await _succeeds(connection, sql) for sql in schema.may]
    accepted = [await _succeeds(connection, sql) for sql in schema.refused]
    two_locked = len(effects.exclusive) > 1
    return "warn" if effects.written or two_locked or any(may_fail) or any(accepted) else "safe"


def _columns(values: dict[tuple[int, str], int], oid: int) -> set[str]:
    return {column for owner, column in values if owner == oid}


async def _succeeds(connection: asyncpg.Connection, sql: str) -> bool:
    await connection.execute("SAVEPOINT release")
    try:
        await connection.execute(sql)
    except asyncpg.PostgresError:
        return False
    finally:
        await connection.execute("ROLLBACK TO release")
    return True


async def measure_all(url: str) -> dict[str, str]:
    """Return the measured verdict of each documented operation, in an empty database."""
    schema, operations = documented()
    await prepare(url, schema)
    cases = (SafetyCase.from_dict(stored) for stored in operations)
    return {case.id: await measure(url, schema, case) for case in cases}


async def prepare(url: str, schema: Schema) -> None:
    """Create the schema with its rows in an empty database."""
    connection = await asyncpg.connect(url)
    await connection.execute(schema.schema)
    await connection.execute(schema.rows)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
