-- Follows the other scope.sql: relations, with those that they are parts of.
place AS MATERIALIZED (
    SELECT c.oid, c.xmin AS version, c.ctid AS location,
           CASE WHEN c.relkind = 't' THEN substr(c.relname, 10)::oid ELSE coalesce(i.indrelid, c.oid) END AS relation
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.oid >= 16384 AND c.relpersistence <> 't'
      AND (c.relkind = 't' OR c.relnamespace <> 'pg_toast'::regnamespace)
)
