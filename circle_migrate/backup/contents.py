"""Size, objects and encryption of a database, as backup and restore compare them; reports of growth."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg

from circle_migrate.postgres.catalog.snapshot import ObjectKey, Snapshot

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
    """The number of objects by kind, and the SHA-256 of all their names.

    Definitions are not part of it: PostgreSQL prints some expressions differently after a restore.
    """

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
    return bool(
        await connection.fetchval("SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()")
    )


_INTERVAL = 0.5
"""Seconds between two measurements."""


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
