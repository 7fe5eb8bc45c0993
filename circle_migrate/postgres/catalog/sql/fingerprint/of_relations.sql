SELECT sum(hashtextextended(described, relation.seed # 10))
FROM relation JOIN (
    SELECT ev_class, r::text FROM pg_rewrite r WHERE r.oid >= 16384
    UNION ALL SELECT polrelid, p::text FROM pg_policy p -- where pg_policy
    UNION ALL SELECT partrelid, p::text FROM pg_partitioned_table p -- where pg_partitioned_table
    UNION ALL SELECT stxrelid, s::text FROM pg_statistic_ext s -- where pg_statistic_ext
    UNION ALL SELECT ftrelid, f::text FROM pg_foreign_table f -- where pg_foreign_table
    UNION ALL SELECT prrelid, p::text FROM pg_publication_rel p -- where pg_publication_rel
    UNION ALL SELECT inhrelid, p.seed::text FROM pg_inherits JOIN relation p ON p.oid = inhparent -- where pg_inherits
    UNION ALL SELECT objoid, objsubid || ' ' || description FROM pg_description
    WHERE classoid = 'pg_class'::regclass AND objoid >= 16384
) part (oid, described) ON part.oid = relation.oid
