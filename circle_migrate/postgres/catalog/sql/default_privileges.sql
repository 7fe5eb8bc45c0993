-- where pg_default_acl
SELECT 'default privileges' AS kind,
       role.name || coalesce('.' || quote_ident(n.nspname), '') || '.'
       || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                               WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects'
                               ELSE d.defaclobjtype::text END AS object,
       CASE WHEN n.nspname IS NOT NULL THEN 'schema ' || quote_ident(n.nspname) END AS of,
       pg_get_userbyid(d.defaclrole) AS role, d.defaclacl::text[] AS acl
FROM pg_default_acl d
JOIN role ON role.oid = d.defaclrole
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
