-- Kinds whose files are restricted to databases that have such objects, by dependencies: every object in a schema depends
-- on it. Aggregates are in pg_proc, ranges in pg_type.
SELECT 0, NULL, xmin, ctid FROM pg_depend
WHERE objid >= 16384 AND classid = ANY ('{pg_collation, pg_conversion, pg_language, pg_opclass, pg_operator, pg_opfamily,
    pg_ts_config, pg_ts_dict, pg_ts_parser, pg_ts_template}'::regclass[])
UNION ALL
SELECT 0, NULL, xmin, ctid FROM pg_am WHERE oid >= 16384
UNION ALL
SELECT 0, NULL, xmin, ctid FROM pg_cast WHERE oid >= 16384
