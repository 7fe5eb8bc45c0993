-- Row versions of all catalogues that definitions are printed from, without temporary tables: every committed change
-- creates new versions, even if a later change reverts it.
WITH relation AS MATERIALIZED (
    SELECT oid, xmin FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't'
),
space AS MATERIALIZED (
    SELECT oid, xmin FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
)
SELECT string_agg(total, ' ') FROM (
    SELECT count(*) || ':' || sum(xmin::text::bigint) FROM relation
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM space
    UNION ALL SELECT count(*) || ':' || sum(a.xmin::text::bigint)
    FROM pg_attribute a JOIN relation ON relation.oid = a.attrelid WHERE a.attrelid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(d.xmin::text::bigint)
    FROM pg_attrdef d JOIN relation ON relation.oid = d.adrelid
    UNION ALL SELECT count(*) || ':' || sum(i.xmin::text::bigint)
    FROM pg_index i JOIN relation ON relation.oid = i.indexrelid
    UNION ALL SELECT count(*) || ':' || sum(t.xmin::text::bigint)
    FROM pg_trigger t JOIN relation ON relation.oid = t.tgrelid
    UNION ALL SELECT count(*) || ':' || sum(r.xmin::text::bigint)
    FROM pg_rewrite r JOIN relation ON relation.oid = r.ev_class
    UNION ALL SELECT count(*) || ':' || sum(c.xmin::text::bigint)
    FROM pg_constraint c JOIN space ON space.oid = c.connamespace
    UNION ALL SELECT count(*) || ':' || sum(t.xmin::text::bigint)
    FROM pg_type t JOIN space ON space.oid = t.typnamespace WHERE t.oid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_aggregate WHERE aggfnoid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_opclass WHERE oid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_collation WHERE oid >= 16384
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_ts_config_map
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_ts_dict
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_policy
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_partitioned_table
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_publication_rel
    UNION ALL SELECT count(*) || ':' || sum(xmin::text::bigint) FROM pg_statistic_ext
) totals (total)
