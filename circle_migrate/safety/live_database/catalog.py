"""Read sizes, sequences, domains, invalid indexes and publications from the live catalogue, without locks."""

from __future__ import annotations

from collections.abc import Iterable

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.database import OWN_TABLES, Database
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.safety.live_database.record import ColumnName, InvalidIndex, ObjectUsage, Size

_NAMED = """
SELECT c.oid, c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""

_INVALID = f"""
SELECT asked.name AS relation, named.name AS index
FROM ({_NAMED}) asked JOIN pg_catalog.pg_index i ON i.indrelid = asked.oid AND NOT i.indisvalid
JOIN ({_NAMED}) named ON named.oid = i.indexrelid
WHERE asked.name = ANY ($1) AND named.relkind = 'i' ORDER BY 1, 2
"""

_PUBLISHED = f"""
SELECT asked.name FROM ({_NAMED}) asked WHERE asked.name = ANY ($1) AND EXISTS (
    SELECT FROM pg_catalog.pg_publication_tables t JOIN pg_catalog.pg_publication p USING (pubname)
    WHERE (p.pubupdate OR p.pubdelete)
      AND quote_ident(t.schemaname) || '.' || quote_ident(t.tablename) = asked.name
)
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


async def published_tables(database: Database, relations: Iterable[str]) -> frozenset[str]:
    """Return those of these relations of which UPDATE or DELETE is published.

    Raises what `bounded_read` raises.
    """
    async with bounded_read(database) as connection:
        return frozenset(row["name"] for row in await connection.fetch(_PUBLISHED, sorted(relations)))


# pg_table_size opens the relation and would wait for an ACCESS EXCLUSIVE lock: of a locked relation the pages
# of its last VACUUM or ANALYZE are taken. The number of rows since then grows with the pages, as in the
# planner (estimate_rel_size in src/backend/optimizer/util/plancat.c); of a table that was never analysed the
# rows are taken that were written since the server collects statistics.
_SIZES = """
WITH RECURSIVE asked AS (
    SELECT c.oid, c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND ($1::text[] IS NULL OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY ($1))
),
part AS (
    SELECT oid, oid AS root FROM asked
    UNION ALL
    SELECT i.inhrelid, part.root
    FROM part JOIN pg_catalog.pg_inherits i ON i.inhparent = part.oid
    JOIN asked ON asked.oid = part.root AND asked.relkind = 'p'
),
measured AS (
    SELECT part.root, c.reltuples, c.relpages, pg_catalog.pg_stat_get_live_tuples(c.oid) AS live_tuples,
           EXISTS (
               SELECT FROM pg_catalog.pg_locks l
               WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock'
                 AND l.pid IS DISTINCT FROM pg_backend_pid()
                 AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
           ) AS locked, c.oid
    FROM part JOIN pg_catalog.pg_class c ON c.oid = part.oid
    WHERE c.relkind IN ('r', 'm')
),
sized AS (
    SELECT root, reltuples, relpages, live_tuples,
           CASE WHEN locked THEN NULLIF(relpages, 0)::bigint * block ELSE pg_catalog.pg_table_size(oid)
           END AS bytes,
           CASE WHEN locked THEN 0 ELSE pg_catalog.pg_indexes_size(oid) END AS index_bytes,
           CASE WHEN locked THEN relpages ELSE pg_catalog.pg_relation_size(oid) / block END AS pages
    FROM measured, (SELECT current_setting('block_size')::bigint) AS of_server (block)
),
counted AS (
    SELECT root, bytes, index_bytes,
           CASE WHEN pages = 0 AND bytes IS NOT NULL THEN 0
                WHEN relpages > 0 AND reltuples >= 0 THEN round(reltuples::numeric / relpages * pages)
                WHEN live_tuples > 0 THEN live_tuples
           END AS rows
    FROM sized
)
SELECT asked.name, CASE WHEN count(root) = count(rows) THEN coalesce(sum(rows), 0)::bigint END AS rows,
       coalesce(sum(bytes), 0)::bigint AS bytes, coalesce(sum(index_bytes), 0)::bigint AS index_bytes
FROM asked LEFT JOIN counted ON counted.root = asked.oid
GROUP BY asked.name HAVING count(root) = count(bytes) ORDER BY asked.name
"""


async def relation_sizes(database: Database, relations: Iterable[str] | None = None) -> dict[str, Size]:
    """Return the sizes of these relations, or of all tables and materialized views except our own tables.

    The size of a partitioned table is the sum of its partitions. Relations that do not exist are left out,
    and those whose size is unknown, as they are locked. Raises what `bounded_read` raises.
    """
    names = None if relations is None else sorted(set(relations))
    if names == []:
        return {}
    async with bounded_read(database) as connection:
        rows = await connection.fetch(_SIZES, names)
    ours = {database.settings.version_table, *OWN_TABLES} if names is None else set()
    return {
        row["name"]: Size(*row)
        for row in rows
        if unquote_and_fold(split_identity(row["name"])[-1]) not in ours
    }
