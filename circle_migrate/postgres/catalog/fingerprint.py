"""Whether a schema has changed at all, for a quarter of what reading it costs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.database import OWN_TABLES

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.postgres.database import State


async def fingerprint(connection: asyncpg.Connection, version_table: str) -> str:
    """The same text as long as nothing of the schema changes, in this database and its TEMPLATE copies.

    A sum of 64-bit hashes over the rows of the catalogues, which neither data nor VACUUM, REINDEX, TRUNCATE,
    ANALYZE or temporary tables change. Equal texts of different databases mean nothing: the rows hold oids.
    It detects changes and proves nothing against somebody who wants to hide one.
    """
    major = connection.get_server_version().major
    async with read_transaction(connection, PINS):
        used = frozenset(await connection.fetchval(queries.nonempty_catalogs(major)))
        ours = [version_table, *OWN_TABLES]
        return str(await connection.fetchval(queries.fingerprint(major, used), ours))


async def schema_fingerprint(connection: asyncpg.Connection, state: State, heads: Sequence[str]) -> str:
    """The fingerprint, behind what it is of: this way of asking, this database, at these revisions.

    Two marks can be told apart by `changed` only where all of that is the same.
    """
    asked = queries.fingerprint(connection.get_server_version().major)
    way = hashlib.sha256(asked.encode()).hexdigest()[:12]
    where = f"{state.cluster}/{state.oid}"
    found = await fingerprint(connection, state.version_table)
    return f"{way}:{where}:{'+'.join(sorted(heads))}:{found}"


def has_changed(recorded: str, now: str) -> bool | None:
    """Whether the schema has changed between two marks; None where they are not of the same thing."""
    of_the_same = recorded.rpartition(":")[0] == now.rpartition(":")[0]
    return recorded != now if of_the_same else None
