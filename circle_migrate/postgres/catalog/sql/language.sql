-- where pg_language.oid
SELECT 'language' AS kind, quote_ident(l.lanname) AS object, pg_get_userbyid(l.lanowner) AS owner,
       coalesce(l.lanacl, acldefault('l', l.lanowner))::text[] AS acl, remark.description AS comment,
       concat_ws(E'\n', CASE WHEN l.lanpltrusted THEN 'TRUSTED' END,
                 'HANDLER ' || NULLIF(l.lanplcallfoid, 0)::regproc,
                 'INLINE ' || NULLIF(l.laninline, 0)::regproc,
                 'VALIDATOR ' || NULLIF(l.lanvalidator, 0)::regproc) AS definition
FROM pg_language l
LEFT JOIN remark ON remark.classoid = 'pg_language'::regclass AND remark.objoid = l.oid
WHERE l.oid >= 16384
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_language'::regclass AND objid = l.oid)
