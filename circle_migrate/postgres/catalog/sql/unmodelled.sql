-- Number of objects of unsupported kinds: objects with dependencies, and base types.
SELECT 'unmodelled' AS kind, other.kind AS object, count(*)::text AS count
FROM (
    SELECT 'base type' AS kind
    FROM pg_type t JOIN space ON space.oid = t.typnamespace
    WHERE t.typtype IN ('b', 'p') AND t.typelem = 0
      AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
    UNION ALL
    SELECT 'security label' FROM pg_seclabel
    UNION ALL
    SELECT found_objects.catalogue FROM (
        SELECT DISTINCT d.classid::regclass::text AS catalogue, d.objid
        FROM pg_depend d
        WHERE d.objid >= 16384 AND d.deptype NOT IN ('e', 'i') AND d.classid <> ALL (ARRAY[
            'pg_am', 'pg_amop', 'pg_amproc', 'pg_attrdef', 'pg_cast', 'pg_class', 'pg_collation',
            'pg_constraint', 'pg_conversion', 'pg_default_acl', 'pg_event_trigger', 'pg_extension',
            'pg_foreign_data_wrapper', 'pg_foreign_server', 'pg_language', 'pg_namespace', 'pg_opclass',
            'pg_operator', 'pg_opfamily', 'pg_policy', 'pg_proc', 'pg_publication', 'pg_publication_rel',
            'pg_rewrite', 'pg_statistic_ext', 'pg_subscription', 'pg_transform', 'pg_trigger',
            'pg_ts_config', 'pg_ts_dict', 'pg_ts_parser', 'pg_ts_template', 'pg_type', 'pg_user_mapping'
        ]::regclass[]) AND d.classid::regclass::text <> 'pg_publication_namespace'
          AND NOT EXISTS (SELECT FROM member WHERE member.classid = d.classid AND member.objid = d.objid)
    ) found_objects
) other
GROUP BY other.kind
