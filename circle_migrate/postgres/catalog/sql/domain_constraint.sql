SELECT 'domain constraint' AS kind,
       space.name || '.' || quote_ident(t.typname) || '.' || quote_ident(c.conname) AS object,
       'domain ' || space.name || '.' || quote_ident(t.typname) AS of, remark.description AS comment,
       pg_get_constraintdef(c.oid) AS definition,
       CASE WHEN NOT c.convalidated THEN 'no' END AS validated,
       CASE WHEN rtrim(c.conname, '0123456789') = t.typname || '_check' THEN 'yes' END AS generated_name
FROM pg_constraint c
JOIN pg_type t ON t.oid = c.contypid
JOIN space ON space.oid = t.typnamespace
LEFT JOIN remark ON remark.classoid = 'pg_constraint'::regclass AND remark.objoid = c.oid
WHERE c.contype = 'c'
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
