-- Relations of users' schemas by name, without our tables ($1) and what is theirs: rows of catalogues name
-- relations by oids, of which REINDEX CONCURRENTLY and VACUUM FULL hand out new ones.
WITH space AS MATERIALIZED (
    SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'circle_kept')
),
ours AS MATERIALIZED (
    SELECT oid FROM pg_class WHERE relname = ANY ($1::text[]::name[]) AND relkind = 'r'
),
relation AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.reltoastrelid, c.relnamespace::text || '.' || c.relname AS name
    FROM pg_class c JOIN space ON space.oid = c.relnamespace
    WHERE c.oid NOT IN (
        SELECT oid FROM ours
        UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM ours)
        UNION ALL SELECT objid FROM pg_depend
        WHERE refclassid = 'pg_class'::regclass AND refobjid IN (SELECT oid FROM ours)
          AND classid = 'pg_class'::regclass
    )
)
