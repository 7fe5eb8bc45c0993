-- where pg_am.oid
SELECT 'access method' AS kind, quote_ident(a.amname) AS object, remark.description AS comment,
       CASE a.amtype WHEN 't' THEN 'TYPE TABLE' ELSE 'TYPE INDEX' END || ' HANDLER ' || a.amhandler
       AS definition
FROM pg_am a
LEFT JOIN remark ON remark.classoid = 'pg_am'::regclass AND remark.objoid = a.oid
WHERE a.oid >= 16384
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_am'::regclass AND objid = a.oid)
