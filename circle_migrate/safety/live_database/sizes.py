"""Read the sizes of relations in one query of the catalogue, which waits for no lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from circle_migrate.postgres.bounded_read import bounded_read
from circle_migrate.postgres.identifier import split_identity, unquote_and_fold
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS, OWN_TABLES
from circle_migrate.safety.live_database.record import Size

if TYPE_CHECKING:
    from circle_migrate.postgres.database import Database

# pg_table_size opens the relation and would wait for an ACCESS EXCLUSIVE lock: of a locked relation the pages
# of its last VACUUM or ANALYZE are taken. The number of rows since then grows with the pages, as in the
# planner (estimate_rel_size in src/backend/optimizer/util/plancat.c); of a table that was never analysed the
# rows are taken that were written since the server collects statistics.
_SIZES = f"""
WITH RECURSIVE asked AS (
    SELECT c.oid, c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname NOT IN {OWN_SCHEMAS}
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
