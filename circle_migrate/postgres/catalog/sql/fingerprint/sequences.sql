-- where pg_sequence
-- The owning columns of sequences are included.
SELECT sum(hashtextextended(ROW(s.*, d.refobjid, d.refobjsubid, d.deptype)::text, relation.seed # 1))
FROM pg_sequence s
JOIN relation ON relation.oid = s.seqrelid
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.objsubid = 0
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
