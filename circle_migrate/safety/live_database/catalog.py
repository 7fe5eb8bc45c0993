"""Read sequences, domains, invalid indexes and publications from the live catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.safety.live_database.record import ColumnName, InvalidIndex, ObjectUsage, PublishedTable

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database

_NAMED = """
SELECT c.oid, c.relkind, c.relreplident, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""

_INVALID = f"""
SELECT asked.name AS relation, named.name AS index
FROM ({_NAMED}) asked JOIN pg_catalog.pg_index i ON i.indrelid = asked.oid AND NOT i.indisvalid
JOIN ({_NAMED}) named ON named.oid = i.indexrelid
WHERE asked.name = ANY ($1) AND named.relkind = 'i' ORDER BY 1, 2
"""

_PUBLISHED = f"""
SELECT DISTINCT asked.name AS relation, p.pubname AS publication,
       CASE asked.relreplident
            WHEN 'f' THEN 'full'
            WHEN 'n' THEN 'nothing'
            WHEN 'i' THEN CASE WHEN identity.found THEN 'index' ELSE 'nothing' END
            ELSE CASE WHEN identity.has_key THEN 'primary key' ELSE 'nothing' END END AS identity,
       p.pubupdate OR p.pubdelete AS updates_or_deletes
FROM ({_NAMED}) asked
JOIN pg_catalog.pg_publication p
    ON p.pubname IN (SELECT t.pubname FROM pg_catalog.pg_publication_tables t
                     WHERE quote_ident(t.schemaname) || '.' || quote_ident(t.tablename) = asked.name)
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(indisreplident), false) AS found,
           coalesce(bool_or(indisprimary), false) AS has_key
    FROM pg_catalog.pg_index WHERE indrelid = asked.oid
) identity
WHERE asked.name = ANY ($1) ORDER BY 1, 2
"""

_SEQUENCES = f"""
SELECT sequence.name AS sequence, owner.name AS relation, quote_ident(a.attname) AS column
FROM pg_catalog.pg_depend d
JOIN ({_NAMED}) sequence ON sequence.oid = d.objid AND sequence.relkind = 'S'
JOIN ({_NAMED}) owner ON owner.oid = d.refobjid
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
  AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0 ORDER BY 1
"""

# Rows of partitions and child tables are read with those of their parents, of which they inherit the columns.
_DOMAINS = f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(t.typname) AS domain,
       owner.name AS relation, quote_ident(a.attname) AS column
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
JOIN pg_catalog.pg_attribute a
    ON a.atttypid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
JOIN ({_NAMED}) owner ON owner.oid = a.attrelid AND owner.relkind IN ('r', 'p', 'm')
WHERE t.typtype = 'd' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3
"""


async def object_usage(database: Database) -> ObjectUsage:
    """Return the columns of owned sequences and of domains. Raises what `bounded_read` raises."""
    async with bounded_read(database) as connection:
        sequences = await connection.fetch(_SEQUENCES)
        columns = await connection.fetch(_DOMAINS)
    domains: dict[str, tuple[ColumnName, ...]] = {}
    for row in columns:
        domains[row["domain"]] = (*domains.get(row["domain"], ()), ColumnName(row["relation"], row["column"]))
    owned = {row["sequence"]: ColumnName(row["relation"], row["column"]) for row in sequences}
    return ObjectUsage(owned, domains)


async def invalid_indexes(database: Database, relations: Iterable[str]) -> tuple[InvalidIndex, ...]:
    """Return the INVALID indexes of these relations. Raises what `bounded_read` raises."""
    async with bounded_read(database) as connection:
        rows = await connection.fetch(_INVALID, sorted(relations))
    return tuple(InvalidIndex(*row) for row in rows)


async def published_tables(database: Database, relations: Iterable[str]) -> tuple[PublishedTable, ...]:
    """Return the publications of these relations. Raises what `bounded_read` raises."""
    async with bounded_read(database) as connection:
        rows = await connection.fetch(_PUBLISHED, sorted(relations))
    return tuple(PublishedTable(*row) for row in rows)
