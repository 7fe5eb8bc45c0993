-- Row versions of all catalogues that definitions are printed from, without temporary tables: every committed change
-- creates new versions, even if a later change reverts it. The sum grows, as a new version has a higher xmin than all
-- that it can replace.
WITH relation AS MATERIALIZED (
    SELECT oid, xmin FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'
),
space AS MATERIALIZED (
    SELECT oid, xmin FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
)
SELECT count(*) || ' ' || sum(xmin::text::bigint) FROM (
    SELECT xmin FROM relation
    UNION ALL SELECT xmin FROM space
    UNION ALL SELECT a.xmin FROM pg_attribute a JOIN relation ON relation.oid = a.attrelid WHERE a.attrelid >= 16384
    UNION ALL SELECT d.xmin FROM pg_attrdef d JOIN relation ON relation.oid = d.adrelid
    UNION ALL SELECT i.xmin FROM pg_index i JOIN relation ON relation.oid = i.indexrelid
    UNION ALL SELECT t.xmin FROM pg_trigger t JOIN relation ON relation.oid = t.tgrelid
    UNION ALL SELECT r.xmin FROM pg_rewrite r JOIN relation ON relation.oid = r.ev_class
    UNION ALL SELECT c.xmin FROM pg_constraint c JOIN space ON space.oid = c.connamespace
    UNION ALL SELECT t.xmin FROM pg_type t JOIN space ON space.oid = t.typnamespace WHERE t.oid >= 16384
    UNION ALL SELECT xmin FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT xmin FROM pg_aggregate WHERE aggfnoid >= 16384
    UNION ALL SELECT xmin FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT xmin FROM pg_opclass WHERE oid >= 16384
    UNION ALL SELECT xmin FROM pg_collation WHERE oid >= 16384
    UNION ALL SELECT xmin FROM pg_ts_config_map
    UNION ALL SELECT xmin FROM pg_ts_dict
    UNION ALL SELECT xmin FROM pg_policy
    UNION ALL SELECT xmin FROM pg_partitioned_table
    UNION ALL SELECT xmin FROM pg_publication_rel
    UNION ALL SELECT xmin FROM pg_statistic_ext
) versions
