-- where pg_ts_dict.oid
SELECT 'text search dictionary' AS kind, space.name || '.' || quote_ident(d.dictname) AS object,
       pg_get_userbyid(d.dictowner) AS owner, remark.description AS comment,
       concat_ws(', ', 'TEMPLATE = ' || quote_ident(n.nspname) || '.' || quote_ident(t.tmplname),
                 d.dictinitoption) AS definition
FROM pg_ts_dict d
JOIN space ON space.oid = d.dictnamespace
JOIN pg_ts_template t ON t.oid = d.dicttemplate
JOIN pg_namespace n ON n.oid = t.tmplnamespace
LEFT JOIN remark ON remark.classoid = 'pg_ts_dict'::regclass AND remark.objoid = d.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_ts_dict'::regclass AND objid = d.oid)
