-- where pg_statistic_ext
SELECT 'statistics' AS kind, space.name || '.' || quote_ident(s.stxname) AS object, relation.key AS of,
       pg_get_userbyid(s.stxowner) AS owner, remark.description AS comment,
       pg_get_statisticsobjdef(s.oid) AS definition, NULLIF(s.stxstattarget, -1)::text AS target
FROM pg_statistic_ext s
JOIN space ON space.oid = s.stxnamespace
JOIN relation ON relation.oid = s.stxrelid
LEFT JOIN remark ON remark.classoid = 'pg_statistic_ext'::regclass AND remark.objoid = s.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_statistic_ext'::regclass AND objid = s.oid)
