"""Tell whether a database has no data, which a downgrade could lose and a statement could be slow on."""

import asyncio
from collections.abc import Iterable

from circle_migrate.postgres.bounded_read import QueryError, open_live_query
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.journal_tables import OWN_SCHEMAS, OWN_TABLES

# Rows of a partitioned table are in its partitions, those of a materialized view come from others. A step can
# delete the rows of a foreign table.
_RELATIONS = f"""
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind = 'S' AS is_sequence,
       c.relkind = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata) AS has_others
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'f', 'S') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT IN {OWN_SCHEMAS}
  AND c.relname <> ALL ($1::text[])
"""
_AT_ONCE = 200
"""Relations of one query, each of which it locks."""


async def databases_with_data(databases: Iterable[Database]) -> list[str]:
    """Return the names of those that have data, or some that cannot be read; our tables do not count.

    Raises the errors of connecting.
    """
    asked = list(databases)
    are_empty = await asyncio.gather(*map(_has_no_data, asked))
    return [database.name for database, is_empty in zip(asked, are_empty, strict=True) if not is_empty]


async def _has_no_data(database: Database) -> bool:
    """Return whether all tables are empty and all sequences unused; False also for what cannot be read."""
    tables = [database.settings.version_table, *OWN_TABLES]
    async with open_live_query(database) as live:
        try:
            relations = await live.rows(_RELATIONS, tables)
            if any(row["has_others"] for row in relations):
                return False
            for start in range(0, len(relations), _AT_ONCE):
                some = relations[start : start + _AT_ONCE]
                conditions = " OR ".join(
                    f"EXISTS (SELECT FROM {row['name']}{' WHERE is_called' * row['is_sequence']})"
                    for row in some
                )
                [(has_rows,)] = await live.rows(f"SELECT {conditions}")
                if has_rows:
                    return False
        except QueryError:
            return False
    return True
