-- where pg_opfamily.oid
SELECT 'operator family' AS kind,
       space.name || '.' || quote_ident(f.opfname) || ' USING ' || quote_ident(am.amname) AS object,
       pg_get_userbyid(f.opfowner) AS owner, remark.description AS comment,
       concat_ws(E'\n',
           (SELECT string_agg(
                       'OPERATOR ' || o.amopstrategy || ' ' || o.amopopr::regoperator
                       || CASE o.amoppurpose WHEN 'o' THEN ' FOR ORDER BY ' || quote_ident(s.opfname)
                          ELSE '' END, E'\n' ORDER BY o.amopstrategy, o.amopopr::regoperator::text)
            FROM pg_amop o LEFT JOIN pg_opfamily s ON s.oid = o.amopsortfamily
            WHERE o.amopfamily = f.oid),
           (SELECT string_agg(
                       'FUNCTION ' || p.amprocnum || ' (' || format_type(p.amproclefttype, NULL) || ', '
                       || format_type(p.amprocrighttype, NULL) || ') ' || p.amproc::regprocedure,
                       E'\n' ORDER BY p.amprocnum, p.amproc::regprocedure::text)
            FROM pg_amproc p WHERE p.amprocfamily = f.oid)
       ) AS definition
FROM pg_opfamily f
JOIN space ON space.oid = f.opfnamespace
JOIN pg_am am ON am.oid = f.opfmethod
LEFT JOIN remark ON remark.classoid = 'pg_opfamily'::regclass AND remark.objoid = f.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_opfamily'::regclass AND objid = f.oid)
