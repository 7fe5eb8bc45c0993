"""Fingerprint of a schema, which detects changes in a quarter of the time of reading the schema."""

import hashlib
from collections.abc import Sequence

import asyncpg

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.database import State
from circle_migrate.postgres.journal_tables import OWN_TABLES


async def fingerprint(connection: asyncpg.Connection, version_table: str) -> str:
    """Return a text that changes only with the schema, in this database and TEMPLATE copies of it.

    It is the sum of 64-bit hashes of catalog rows; data, VACUUM, REINDEX, TRUNCATE, ANALYZE and temporary
    tables do not change it. Fingerprints of other databases are not comparable, as rows contain oids. It is
    no protection against deliberate concealment of a change.
    """
    major = connection.get_server_version().major
    async with read_transaction(connection, PINS):
        used = frozenset(await connection.fetchval(queries.nonempty_catalogs(major)))
        own_tables = [version_table, *OWN_TABLES]
        return str(await connection.fetchval(queries.fingerprint(major, used), own_tables))


async def schema_fingerprint(connection: asyncpg.Connection, state: State, heads: Sequence[str]) -> str:
    """Return QUERY:DATABASE:REVISIONS:FINGERPRINT, for comparison by `has_changed`."""
    query = queries.fingerprint(connection.get_server_version().major)
    query_hash = hashlib.sha256(query.encode()).hexdigest()[:12]
    schema = await fingerprint(connection, state.version_table)
    return f"{query_hash}:{state.cluster}/{state.oid}:{'+'.join(sorted(heads))}:{schema}"


def without_change(fingerprint: str, before: str, after: str) -> str:
    """Return the fingerprint as if the change between two others had not been made."""
    origin, _, total = fingerprint.rpartition(":")
    was, is_now = (int(text.rpartition(":")[2]) for text in (before, after))
    return f"{origin}:{int(total) - is_now + was}"


def has_changed(recorded: str, now: str) -> bool | None:
    """Return whether the schema has changed between two fingerprints; None if they are not comparable."""
    is_comparable = recorded.rpartition(":")[0] == now.rpartition(":")[0]
    return recorded != now if is_comparable else None
