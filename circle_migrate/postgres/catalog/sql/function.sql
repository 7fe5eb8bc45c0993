SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'w' THEN 'window function' WHEN 'a' THEN 'aggregate'
                      ELSE 'function' END AS kind,
       space.name || '.' || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')' AS object,
       pg_get_userbyid(p.proowner) AS owner, coalesce(p.proacl, acldefault('f', p.proowner))::text[] AS acl,
       remark.description AS comment,
       CASE WHEN p.prokind <> 'a' THEN rtrim(pg_get_functiondef(p.oid), E'\n') END AS definition,
       quote_ident(l.lanname) AS language,
       CASE WHEN p.prosecdef THEN 'yes' END AS security_definer
FROM pg_proc p
JOIN space ON space.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN remark ON remark.classoid = 'pg_proc'::regclass AND remark.objoid = p.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
  -- Constructors of range types belong to the type.
  AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i'
  )
