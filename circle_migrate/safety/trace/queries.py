"""Queries about the transaction, relations and triggers of a scratch database."""

from circle_migrate.postgres.journal_tables import OWN_SCHEMAS
from circle_migrate.safety.trace.record import Task

RELATIONS = f"""
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relname,
       c.relkind::text AS kind, pg_relation_filenode(c.oid)::bigint AS file,
       pg_table_is_visible(c.oid) AS visible
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND n.nspname NOT IN {OWN_SCHEMAS} AND c.relname <> $1::text
"""  # noqa: S608 - constants

# Counts of the running transaction only. The count of a catalog includes uncommitted rows, so that the sum
# changes with any DDL, also inside functions. The first row has them; `named` is what names of relations and
# their visibility depend on.
HELD = """
SELECT 0::bigint AS oid, NULL::text[] AS modes, NULL::bigint AS file, 0::bigint AS scans, total AS written,
       names || current_setting('search_path') AS named,
       EXISTS (SELECT FROM pg_catalog.pg_event_trigger) AS event_triggers
FROM (
    SELECT sum(rows)::bigint AS total,
           sum(rows) FILTER (WHERE relname IN ('pg_class', 'pg_namespace')) AS names
    FROM (
        SELECT relname, pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
                        + pg_stat_get_xact_tuples_deleted(oid) AS rows
        FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'
    ) catalog
) written
UNION ALL
SELECT oid, modes, pg_relation_filenode(oid::oid)::bigint, scans, inserted, NULL, NULL
FROM (
    SELECT relation::bigint AS oid, array_agg(mode) AS modes
    FROM pg_catalog.pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= 16384
    GROUP BY relation
) locked FULL JOIN (
    SELECT oid::bigint AS oid, pg_stat_get_xact_numscans(oid) AS scans,
           pg_stat_get_xact_tuples_inserted(oid) AS inserted
    FROM pg_catalog.pg_class
    WHERE relkind IN ('r', 'm') AND oid >= 16384
      AND pg_stat_get_xact_numscans(oid) + pg_stat_get_xact_tuples_inserted(oid) > 0
) counted USING (oid)
"""

FOREIGN_KEYS = """
SELECT conname::text AS name, conrelid::bigint AS oid FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND conname = ANY ($1::text[])
"""
# The oid of a relation by its name, for an index that of its table.
OID = """
SELECT coalesce(indrelid, named.oid)::bigint
FROM (SELECT to_regclass($1)::oid) named (oid) LEFT JOIN pg_catalog.pg_index ON indexrelid = named.oid
"""
# Functions of extensions are not part of the plan.
BODIES = """
SELECT p.proname::text AS name, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY ($1::text[]) AND l.lanname NOT IN ('internal', 'c')
  AND p.pronamespace <> 'pg_catalog'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                  AND d.classid = 'pg_catalog.pg_proc'::regclass)
"""

PREPARED = "SELECT statement FROM pg_catalog.pg_prepared_statements WHERE name = $1"
# The bits of pg_trigger.tgtype: https://github.com/postgres/postgres/blob/REL_18_STABLE/src/include/catalog/pg_trigger.h
EVENTS = {Task.INSERT: 4, Task.DELETE: 8, Task.UPDATE: 16, Task.TRUNCATE: 32}
TRIGGERS = """
SELECT p.prosrc AS body, t.tgtype & 1 <> 0 AS by_row,
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
             WHERE attrelid = t.tgrelid AND attnum = ANY (t.tgattr)) AS columns
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid::bigint = $1 AND t.tgtype & $2::int <> 0 AND t.tgenabled IN ('O', 'A') AND NOT t.tgisinternal
"""
EVENT_TRIGGERS = """
SELECT p.prosrc AS body, false AS by_row
FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
WHERE e.evtenabled IN ('O', 'A')
"""
# The actions of foreign keys: on the deletion of rows if $2, which cascades further, else on new keys.
ACTIONS = """
WITH RECURSIVE child (oid, key, referred, action) AS (
    SELECT conrelid, conkey[1], confkey, CASE WHEN $2 THEN confdeltype ELSE confupdtype END
    FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conparentid = 0 AND confrelid::bigint = $1
    UNION
    SELECT c.conrelid, c.conkey[1], NULL::int2[], c.confdeltype
    FROM child JOIN pg_catalog.pg_constraint c ON c.confrelid = child.oid
    WHERE $2 AND child.action = 'c' AND c.contype = 'f' AND c.conparentid = 0
)
SELECT child.oid::bigint AS oid,
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
             WHERE attrelid::bigint = $1 AND attnum = ANY (referred)) AS columns,
       format(CASE WHEN action = 'n' THEN 'UPDATE %1$s SET %2$I = NULL'
                   WHEN action = 'd' THEN 'UPDATE %1$s SET %2$I = DEFAULT'
                   WHEN $2 THEN 'DELETE FROM %1$s' ELSE 'UPDATE %1$s SET %2$I = %2$I' END
              || ' WHERE %2$I = $1', child.oid::regclass, a.attname) AS sql
FROM child JOIN pg_catalog.pg_attribute a ON a.attrelid = child.oid AND a.attnum = child.key
WHERE action IN ('c', 'n', 'd')
"""
