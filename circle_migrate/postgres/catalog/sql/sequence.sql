-- where pg_sequence
SELECT 'sequence' AS kind, space.name || '.' || quote_ident(c.relname) AS object, relation.key AS of,
       pg_get_userbyid(c.relowner) AS owner, coalesce(c.relacl, acldefault('s', c.relowner))::text[] AS acl,
       remark.description AS comment,
       format_type(s.seqtypid, NULL) AS type, s.seqstart::text AS start, s.seqincrement::text AS increment,
       s.seqmin::text AS minimum, s.seqmax::text AS maximum, s.seqcache::text AS cache,
       CASE WHEN s.seqcycle THEN 'yes' END AS cycle,
       relation.identity || '.' || quote_ident(a.attname) AS owned_by,
       CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS persistence
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN space ON space.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
LEFT JOIN relation ON relation.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
LEFT JOIN remark ON remark.classoid = 'pg_class'::regclass AND remark.objoid = c.oid AND remark.objsubid = 0
WHERE d.deptype IS DISTINCT FROM 'i' AND (d.refobjid IS NULL OR relation.oid IS NOT NULL)
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)
