-- Whatever belongs to no relation.
SELECT sum(hashtextextended(described, 12))
FROM (
    SELECT to_jsonb(n)::text FROM pg_namespace n JOIN space USING (oid)
    UNION ALL SELECT to_jsonb(p)::text FROM pg_proc p WHERE p.oid >= 16384
    UNION ALL SELECT to_jsonb(a)::text FROM pg_aggregate a WHERE a.aggfnoid >= 16384
    UNION ALL SELECT to_jsonb(e)::text FROM pg_enum e
    UNION ALL SELECT to_jsonb(r)::text FROM pg_range r WHERE r.rngtypid >= 16384
    UNION ALL SELECT to_jsonb(e)::text FROM pg_extension e
    UNION ALL SELECT objid || ' ' || classid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    UNION ALL SELECT to_jsonb(c)::text FROM pg_collation c WHERE c.oid >= 16384
    UNION ALL SELECT to_jsonb(c)::text FROM pg_cast c WHERE c.oid >= 16384
    UNION ALL SELECT to_jsonb(o)::text FROM pg_operator o WHERE o.oid >= 16384
    UNION ALL SELECT to_jsonb(o)::text FROM pg_opclass o WHERE o.oid >= 16384
    UNION ALL SELECT to_jsonb(o)::text FROM pg_opfamily o WHERE o.oid >= 16384
    UNION ALL SELECT to_jsonb(a)::text FROM pg_amop a WHERE a.oid >= 16384
    UNION ALL SELECT to_jsonb(a)::text FROM pg_amproc a WHERE a.oid >= 16384
    UNION ALL SELECT to_jsonb(c)::text FROM pg_conversion c WHERE c.oid >= 16384
    UNION ALL SELECT to_jsonb(l)::text FROM pg_language l
    UNION ALL SELECT to_jsonb(t)::text FROM pg_transform t
    UNION ALL SELECT to_jsonb(a)::text FROM pg_am a WHERE a.oid >= 16384
    UNION ALL SELECT to_jsonb(c)::text FROM pg_ts_config c WHERE c.oid >= 16384
    UNION ALL SELECT to_jsonb(m)::text FROM pg_ts_config_map m WHERE m.mapcfg >= 16384
    UNION ALL SELECT to_jsonb(d)::text FROM pg_ts_dict d WHERE d.oid >= 16384
    UNION ALL SELECT to_jsonb(p)::text FROM pg_ts_parser p WHERE p.oid >= 16384
    UNION ALL SELECT to_jsonb(t)::text FROM pg_ts_template t WHERE t.oid >= 16384
    UNION ALL SELECT to_jsonb(e)::text FROM pg_event_trigger e
    UNION ALL SELECT to_jsonb(d)::text FROM pg_default_acl d
    UNION ALL SELECT to_jsonb(w)::text FROM pg_foreign_data_wrapper w
    UNION ALL SELECT to_jsonb(s)::text FROM pg_foreign_server s
    UNION ALL SELECT umid || srvname::text || umuser FROM pg_user_mappings
    UNION ALL SELECT to_jsonb(p)::text FROM pg_publication p
    UNION ALL SELECT ROW(subname, subowner, subenabled, subslotname, subpublications)::text
    FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE d.datname = current_database()
    UNION ALL SELECT to_jsonb(s)::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
    WHERE d.datname = current_database()
    UNION ALL SELECT to_jsonb(s)::text FROM pg_seclabel s
    UNION ALL SELECT to_jsonb(d)::text FROM pg_description d
    WHERE d.objoid >= 16384 AND d.classoid <> 'pg_class'::regclass
) catalogue (described)
