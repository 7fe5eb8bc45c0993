SELECT sum(hashtextextended(relation.name || described, 10))
FROM relation JOIN (
    SELECT ev_class, to_jsonb(r)::text FROM pg_rewrite r WHERE r.oid >= 16384
    UNION ALL SELECT polrelid, to_jsonb(p)::text FROM pg_policy p
    UNION ALL SELECT partrelid, to_jsonb(p)::text FROM pg_partitioned_table p
    UNION ALL SELECT stxrelid, to_jsonb(s)::text FROM pg_statistic_ext s
    UNION ALL SELECT ftrelid, to_jsonb(f)::text FROM pg_foreign_table f
    UNION ALL SELECT seqrelid, to_jsonb(s)::text FROM pg_sequence s
    UNION ALL SELECT prrelid, to_jsonb(p)::text FROM pg_publication_rel p
    UNION ALL SELECT inhrelid, parent.name FROM pg_inherits JOIN relation parent ON parent.oid = inhparent
    UNION ALL SELECT objoid, objsubid || ' ' || description FROM pg_description
    WHERE classoid = 'pg_class'::regclass AND objoid >= 16384
    -- Which column a sequence belongs to.
    UNION ALL SELECT objid, refobjid || ' ' || refobjsubid || deptype::text FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND objsubid = 0
      AND refobjsubid > 0 AND deptype IN ('a', 'i') AND objid IN (SELECT seqrelid FROM pg_sequence)
) part (oid, described) ON part.oid = relation.oid
