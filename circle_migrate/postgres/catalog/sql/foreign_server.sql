-- where pg_foreign_server
-- All roles can read these options; secret options belong to user mappings. Of a secret only 8 bits of a digest are
-- returned, which show that it changed.
SELECT 'foreign server' AS kind, quote_ident(s.srvname) AS object,
       pg_get_userbyid(s.srvowner) AS owner, coalesce(s.srvacl, acldefault('S', s.srvowner))::text[] AS acl,
       remark.description AS comment, quote_ident(w.fdwname) AS wrapper, s.srvtype AS type,
       s.srvversion AS version,
       array_to_string(ARRAY(SELECT regexp_replace(o, '(?i)^([^=]*(password|secret)[^=]*)=.*',
                                                   '\1=<hidden ' || left(md5(s.srvname || o), 2) || '>')
                             FROM unnest(s.srvoptions) o), E'\n') AS options
FROM pg_foreign_server s
JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
LEFT JOIN remark ON remark.classoid = 'pg_foreign_server'::regclass AND remark.objoid = s.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_foreign_server'::regclass AND objid = s.oid)
