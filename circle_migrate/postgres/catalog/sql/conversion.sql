-- where pg_conversion.oid
SELECT 'conversion' AS kind, space.name || '.' || quote_ident(c.conname) AS object,
       pg_get_userbyid(c.conowner) AS owner, remark.description AS comment,
       CASE WHEN c.condefault THEN 'DEFAULT ' ELSE '' END
       || 'FOR ' || quote_literal(pg_encoding_to_char(c.conforencoding))
       || ' TO ' || quote_literal(pg_encoding_to_char(c.contoencoding)) || ' FROM ' || c.conproc AS definition
FROM pg_conversion c
JOIN space ON space.oid = c.connamespace
LEFT JOIN remark ON remark.classoid = 'pg_conversion'::regclass AND remark.objoid = c.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_conversion'::regclass AND objid = c.oid)
