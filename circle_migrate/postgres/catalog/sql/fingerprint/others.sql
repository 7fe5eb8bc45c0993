-- Objects that belong to no relation.
SELECT sum(hashtextextended(described, 12))
FROM (
    SELECT n::text FROM pg_namespace n JOIN space USING (oid)
    UNION ALL SELECT p::text FROM pg_proc p WHERE p.oid >= 16384 -- where pg_proc.oid
    UNION ALL SELECT a::text FROM pg_aggregate a WHERE a.aggfnoid >= 16384 -- where pg_proc.oid
    UNION ALL SELECT e::text FROM pg_enum e -- where pg_enum
    UNION ALL SELECT r::text FROM pg_range r WHERE r.rngtypid >= 16384
    UNION ALL SELECT e::text FROM pg_extension e
    UNION ALL SELECT objid || ' ' || classid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    UNION ALL SELECT c::text FROM pg_collation c WHERE c.oid >= 16384 -- where pg_collation.oid
    UNION ALL SELECT c::text FROM pg_cast c WHERE c.oid >= 16384
    UNION ALL SELECT o::text FROM pg_operator o WHERE o.oid >= 16384 -- where pg_operator.oid
    UNION ALL SELECT o::text FROM pg_opclass o WHERE o.oid >= 16384 -- where pg_opclass.oid
    UNION ALL SELECT o::text FROM pg_opfamily o WHERE o.oid >= 16384 -- where pg_opfamily.oid
    UNION ALL SELECT a::text FROM pg_amop a WHERE a.oid >= 16384 -- where pg_amop.oid
    UNION ALL SELECT a::text FROM pg_amproc a WHERE a.oid >= 16384 -- where pg_amproc.oid
    UNION ALL SELECT c::text FROM pg_conversion c WHERE c.oid >= 16384 -- where pg_conversion.oid
    UNION ALL SELECT l::text FROM pg_language l
    UNION ALL SELECT t::text FROM pg_transform t -- where pg_transform
    UNION ALL SELECT a::text FROM pg_am a WHERE a.oid >= 16384
    UNION ALL SELECT c::text FROM pg_ts_config c WHERE c.oid >= 16384 -- where pg_ts_config.oid
    UNION ALL SELECT m::text FROM pg_ts_config_map m WHERE m.mapcfg >= 16384 -- where pg_ts_config.oid
    UNION ALL SELECT d::text FROM pg_ts_dict d WHERE d.oid >= 16384 -- where pg_ts_dict.oid
    UNION ALL SELECT p::text FROM pg_ts_parser p WHERE p.oid >= 16384 -- where pg_ts_parser.oid
    UNION ALL SELECT t::text FROM pg_ts_template t WHERE t.oid >= 16384 -- where pg_ts_template.oid
    UNION ALL SELECT e::text FROM pg_event_trigger e -- where pg_event_trigger
    UNION ALL SELECT d::text FROM pg_default_acl d -- where pg_default_acl
    UNION ALL SELECT w::text FROM pg_foreign_data_wrapper w -- where pg_foreign_data_wrapper
    UNION ALL SELECT s::text FROM pg_foreign_server s -- where pg_foreign_server
    UNION ALL SELECT umid || srvname::text || umuser FROM pg_user_mappings -- where pg_user_mapping
    UNION ALL SELECT p::text FROM pg_publication p -- where pg_publication
    UNION ALL SELECT s::text FROM pg_seclabel s -- where pg_seclabel
    UNION ALL SELECT d::text FROM pg_description d
    WHERE d.objoid >= 16384 AND d.classoid <> 'pg_class'::regclass
) catalogue (described)
