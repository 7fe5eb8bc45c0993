-- Relations of users' schemas, without our tables ($1) and their dependent objects. Catalogue rows refer to relations
-- by oids, which REINDEX CONCURRENTLY and VACUUM FULL change: the hashes of those rows start from a hash of the
-- relation's name instead (`seed`). The relation's own row is hashed here, without the columns that VACUUM, ANALYZE,
-- TRUNCATE and CLUSTER change.
WITH space AS MATERIALIZED (
    SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'circle_kept')
      AND nspname <> coalesce(current_setting('circle_migrate.journal_schema', true), 'circle_migrate')
),
ours AS MATERIALIZED (
    SELECT oid FROM pg_class WHERE relname = ANY ($1::text[]::name[]) AND relkind = 'r'
),
relation AS MATERIALIZED (
    SELECT oid, relkind, seed, hashtextextended(ROW(
        relkind, relowner, relam, reltablespace, relpersistence, relchecks, relrowsecurity,
        relforcerowsecurity, relispopulated, relreplident, relispartition, reloftype, relacl, reloptions,
        relpartbound, toast_options
    )::text, seed) AS hash
    FROM (
        SELECT c.*, hashtextextended(c.relname, c.relnamespace::bigint) AS seed, toast.reloptions AS toast_options
        FROM pg_class c
        JOIN space ON space.oid = c.relnamespace
        LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid AND toast.reloptions IS NOT NULL
        WHERE c.oid NOT IN (
            SELECT oid FROM ours
            UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM ours)
            UNION ALL SELECT objid FROM pg_depend
            WHERE refclassid = 'pg_class'::regclass AND refobjid IN (SELECT oid FROM ours)
              AND classid = 'pg_class'::regclass
        )
    ) class
)
