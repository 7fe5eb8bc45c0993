-- where pg_collation.oid
SELECT 'collation' AS kind, space.name || '.' || quote_ident(c.collname) AS object,
       pg_get_userbyid(c.collowner) AS owner, remark.description AS comment,
       CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin'
                           WHEN 'd' THEN 'default' ELSE c.collprovider::text END AS provider,
       coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale',
                concat_ws(' / ', c.collcollate, NULLIF(c.collctype, c.collcollate))) AS locale,
       to_jsonb(c) ->> 'collicurules' AS rules,
       CASE WHEN NOT c.collisdeterministic THEN 'no' END AS deterministic,
       c.collversion AS version
FROM pg_collation c
JOIN space ON space.oid = c.collnamespace
LEFT JOIN remark ON remark.classoid = 'pg_collation'::regclass AND remark.objoid = c.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_collation'::regclass AND objid = c.oid)
