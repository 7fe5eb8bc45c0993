SELECT 'schema' AS kind, quote_ident(n.nspname) AS object, pg_get_userbyid(n.nspowner) AS owner,
       coalesce(n.nspacl, acldefault('n', n.nspowner))::text[] AS acl,
       NULLIF(obj_description(n.oid, 'pg_namespace'), 'standard public schema') AS comment
FROM pg_namespace n JOIN space USING (oid)
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_namespace'::regclass AND objid = n.oid)
