"""Contents of databases: size and objects, as backup and restore compare them, and exported snapshots.

The snapshots of all databases are taken as close together in time as possible. docs/backup.md states the
guarantees: the snapshot of a database is transactionally consistent, all snapshots are exported within
`skew_ms`, and no deployer migrates meanwhile.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from circle_migrate.core.errors import BackupFailed, MigrateError
from circle_migrate.core.events import Notify
from circle_migrate.migrate.session import ensure_dedicated_session
from circle_migrate.postgres.bounded_read import NO_TIMEOUTS
from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot
from circle_migrate.postgres.database import APPLICATION_NAME, Database, State
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.server_errors import lost_connection_errors, server_message

_INTERVAL = 0.5
"""Seconds between two measurements."""

NAME = f"{APPLICATION_NAME} backup"

_EXPORT = """
SELECT pg_export_snapshot() AS snapshot,
       to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS exported_at
"""

# Every object that a dump would contain, except members of extensions.
_USER_OBJECTS = """
WITH own AS (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
), object AS (
    SELECT 'pg_class'::regclass AS catalog, c.oid, format('%I.%I', nspname, relname) AS name
    FROM pg_catalog.pg_class c JOIN own ON own.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, format('%I.%I()', nspname, proname)
    FROM pg_catalog.pg_proc p JOIN own ON own.oid = pronamespace
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, format('%I.%I', nspname, typname)
    FROM pg_catalog.pg_type t JOIN own ON own.oid = typnamespace WHERE typtype IN ('e', 'd', 'r')
    UNION ALL
    SELECT 'pg_namespace'::regclass, oid, format('%I', nspname) FROM own WHERE nspname <> 'public'
    UNION ALL
    SELECT 'pg_largeobject'::regclass, oid, format('large object %s', oid)
    FROM pg_catalog.pg_largeobject_metadata
)
SELECT name FROM object
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = object.catalog AND d.objid = object.oid AND d.deptype = 'e')
ORDER BY 1
"""

# A role that a session gets after the connection, as in docs/operations.md, needs no CONNECT itself.
_SIZE = """
SELECT CASE WHEN has_database_privilege(current_database(), 'CONNECT')
    THEN pg_database_size(current_database())
    ELSE (SELECT sum(pg_table_size(oid)) FROM pg_catalog.pg_class WHERE relkind <> 'I') END
"""

# An empty database may already have these, or a restore may leave them out.
_IGNORED_KINDS = frozenset({"setting", "extension", "subscription", "default privileges"})
_PUBLIC = ObjectKey("schema", "public")


class CatalogDigest(NamedTuple):
    """The number of objects by kind, and the SHA-256 of their names: definitions may print differently."""

    objects: dict[str, int]
    digest: str


def catalog_digest(snapshot: Snapshot) -> CatalogDigest:
    """Return the digest of a snapshot."""
    keys = [key for key in sorted(snapshot.objects) if key.kind not in _IGNORED_KINDS and key != _PUBLIC]
    names = "\n".join(map(str, keys))
    objects = Counter(key.kind for key in keys)
    return CatalogDigest(dict(sorted(objects.items())), hashlib.sha256(names.encode()).hexdigest())


async def user_objects(connection: asyncpg.Connection) -> tuple[str, ...]:
    """Return the names of the objects in the database; a dump can be restored if there are none."""
    return tuple(row["name"] for row in await connection.fetch(_USER_OBJECTS))


async def database_size(connection: asyncpg.Connection) -> int:
    """Return the size of the connection's database in bytes."""
    return int(await connection.fetchval(_SIZE))


async def uses_tls(connection: asyncpg.Connection) -> bool:
    """Return whether the connection is encrypted by TLS."""
    query = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()"
    return bool(await connection.fetchval(query))


@asynccontextmanager
async def report_growth(
    measure: Callable[[], Awaitable[int]], report: Callable[[int], None]
) -> AsyncIterator[None]:
    """Report the measured size while the block runs; a failed measurement only ends the reports."""

    async def run() -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            report(await measure())

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class ExportedSnapshot:
    """The snapshot of one database, valid until the transaction of `connection` ends.

    `snapshot` is the name that pg_dump imports. `database` has exactly one host, since another host does not
    know the snapshot.
    """

    database: Database
    connection: asyncpg.Connection
    state: State
    snapshot: str
    exported_at: str


@dataclass(frozen=True, slots=True)
class ConsistentSnapshots:
    """The snapshots by database, exported within `skew_ms`; `locked` if all deployer locks are held."""

    by_database: Mapping[str, ExportedSnapshot]
    skew_ms: float
    locked: bool


@asynccontextmanager
async def export_snapshots(
    databases: Mapping[str, Database], wait: float, notify: Notify, *, locked: bool
) -> AsyncIterator[ConsistentSnapshots]:
    """Hold a snapshot of every database open while the block runs.

    Takes the deployer locks first, in the given order, and waits at most `wait` seconds for each. It takes no
    lock if the caller holds them (`locked`), and none on a standby, where nobody can migrate. Raises
    `LockNotObtained` and the errors of connecting.
    """
    async with AsyncExitStack() as stack:
        sessions = {}
        all_locked = True
        for name, database in databases.items():
            pinned, connection = await _connect_to_one_host(database)
            stack.callback(connection.terminate)
            stack.enter_context(lost_connection_errors(name, connection))
            await ensure_dedicated_session(pinned, connection)
            sessions[name] = (pinned, connection)
            if locked:
                continue
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                all_locked = False
            else:
                await stack.enter_async_context(deployer_lock(connection, name, wait, notify))
        for _, connection in sessions.values():
            await connection.execute(NO_TIMEOUTS)  # the transaction lasts as long as a dump
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        started = time.monotonic()
        rows = await asyncio.gather(*(connection.fetchrow(_EXPORT) for _, connection in sessions.values()))
        skew_ms = round((time.monotonic() - started) * 1000, 3)
        snapshots = {
            name: ExportedSnapshot(pinned, connection, await pinned.read_state(connection), **row)
            for (name, (pinned, connection)), row in zip(sessions.items(), rows, strict=True)
        }
        yield ConsistentSnapshots(snapshots, skew_ms, all_locked)


async def ensure_sessions_alive(snapshots: ConsistentSnapshots) -> None:
    """Raise `BackupFailed` if a session was lost, and with it the deployer lock."""
    for name, snapshot in snapshots.by_database.items():
        try:
            await snapshot.connection.execute("SELECT")
        except Exception as error:
            raise BackupFailed(
                f"{name}: the session that holds the deployer lock was lost during the dump",
                database=name,
                detail=server_message(error),
                hint="run the same command again",
            ) from error


async def _connect_to_one_host(database: Database) -> tuple[Database, asyncpg.Connection]:
    """Return the database with only the first of its hosts that answers, and a connection to it."""
    endpoints = database.address.endpoints
    for endpoint in endpoints:
        pinned = Database(
            database.settings.model_copy(update={"url": database.address._replace(endpoints=(endpoint,))})
        )
        try:
            return pinned, await pinned.connect(NAME)
        except MigrateError:
            if endpoint is endpoints[-1]:
                raise
    raise AssertionError("an address has at least one host")
