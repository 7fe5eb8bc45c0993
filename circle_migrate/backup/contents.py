"""What a database holds, as far as backups compare it: its size, its objects, whether there are any."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from circle_migrate.postgres.catalog.snapshot import ObjectKey

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.catalog.snapshot import Snapshot

# Whatever a dump would bring with it; what belongs to an extension comes and goes with that one.
_ANYTHING = """
WITH own AS (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
), found AS (
    SELECT 'pg_class'::regclass AS of, c.oid, format('%I.%I', nspname, relname) AS name
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
SELECT name FROM found
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = found.of AND d.objid = found.oid AND d.deptype = 'e')
ORDER BY 1
"""


# What an empty database may have already, or a restore may leave out: no sign of a dump that is not whole.
_OF_THE_SERVER = frozenset({"setting", "extension", "subscription", "default privileges"})
_PUBLIC = ObjectKey("schema", "public")


class CatalogDigest(NamedTuple):
    """A catalogue for comparison: objects counted by kind, and a digest of what all of them are called.

    Not of their definitions: PostgreSQL prints some expressions otherwise once they have been restored.
    """

    objects: dict[str, int]
    digest: str


def catalogue(snapshot: Snapshot) -> CatalogDigest:
    """What backups compare of a snapshot."""
    keys = [key for key in sorted(snapshot.objects) if key.kind not in _OF_THE_SERVER and key != _PUBLIC]
    names = "\n".join(map(str, keys))
    objects = Counter(key.kind for key in keys)
    return CatalogDigest(dict(sorted(objects.items())), hashlib.sha256(names.encode()).hexdigest())


async def user_objects(connection: asyncpg.Connection) -> tuple[str, ...]:
    """The names of what is in a database; empty where a dump can be restored into it."""
    return tuple(row["name"] for row in await connection.fetch(_ANYTHING))


async def size(connection: asyncpg.Connection) -> int:
    """How large the connection's database is, in bytes."""
    return int(await connection.fetchval("SELECT pg_database_size(current_database())"))


async def encrypted(connection: asyncpg.Connection) -> bool:
    """Whether the connection is encrypted by TLS."""
    return bool(
        await connection.fetchval("SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()")
    )
