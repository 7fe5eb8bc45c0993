-- where pg_ts_template.oid
SELECT 'text search template' AS kind, space.name || '.' || quote_ident(t.tmplname) AS object,
       remark.description AS comment,
       concat_ws(', ', 'INIT = ' || NULLIF(t.tmplinit, 0)::regproc, 'LEXIZE = ' || t.tmpllexize) AS definition
FROM pg_ts_template t
JOIN space ON space.oid = t.tmplnamespace
LEFT JOIN remark ON remark.classoid = 'pg_ts_template'::regclass AND remark.objoid = t.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_ts_template'::regclass AND objid = t.oid)
