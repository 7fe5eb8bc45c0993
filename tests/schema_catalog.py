"""What a database's `public` schema consists of, read from the system catalogs: one query per kind."""

from __future__ import annotations

from typing import Any

import asyncpg

_QUERIES = {
    "tables": """
        SELECT relname, relkind::text, relpersistence::text
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    """,
    "columns": """
        SELECT relname, row_number() OVER (PARTITION BY attrelid ORDER BY attnum) AS place, attname,
               format_type(atttypid, atttypmod) AS type, attnotnull, attidentity::text, attgenerated::text,
               pg_get_expr(adbin, adrelid) AS "default",
               CASE WHEN attcollation <> typcollation THEN attcollation::regcollation::text END AS collation
        FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid
        JOIN pg_type ON pg_type.oid = atttypid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    """,
    "constraints": """
        SELECT relname, conname, contype::text, pg_get_constraintdef(pg_constraint.oid) AS definition,
               convalidated, condeferrable, condeferred
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
        WHERE relnamespace = 'public'::regnamespace
    """,
    "indexes": """
        SELECT indrelid::regclass::text AS relname, pg_get_indexdef(indexrelid) AS definition, indisunique,
               indisvalid, indisready, indimmediate
        FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = 'public'::regnamespace
    """,
    "sequences": """
        SELECT relname, format_type(seqtypid, NULL) AS type, seqstart, seqincrement, seqmin, seqmax, seqcycle,
               (SELECT refobjid::regclass || '.' || attname
                FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                   AND deptype IN ('a', 'i')) AS owner
        FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid
        WHERE relnamespace = 'public'::regnamespace
    """,
    "others": """
        SELECT 'trigger' AS kind, tgname::text AS relname FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'type', typname FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')
    """,
}

Catalog = dict[str, list[tuple[Any, ...]]]


async def catalog(
    connection: asyncpg.Connection, ignore: frozenset[str] = frozenset({"alembic_version"})
) -> Catalog:
    """Every kind of object with what tells one from another, without what belongs to tables in `ignore`."""
    return {
        kind: sorted(
            (tuple(row) for row in await connection.fetch(query) if row["relname"] not in ignore), key=repr
        )
        for kind, query in _QUERIES.items()
    }
