-- where pg_foreign_data_wrapper
SELECT 'foreign data wrapper' AS kind, quote_ident(w.fdwname) AS object,
       pg_get_userbyid(w.fdwowner) AS owner, coalesce(w.fdwacl, acldefault('F', w.fdwowner))::text[] AS acl,
       remark.description AS comment,
       concat_ws(E'\n', 'HANDLER ' || NULLIF(w.fdwhandler, 0)::regproc,
                 'VALIDATOR ' || NULLIF(w.fdwvalidator, 0)::regproc) AS definition,
       array_to_string(w.fdwoptions, E'\n') AS options
FROM pg_foreign_data_wrapper w
LEFT JOIN remark ON remark.classoid = 'pg_foreign_data_wrapper'::regclass AND remark.objoid = w.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_foreign_data_wrapper'::regclass AND objid = w.oid)
