-- where pg_user_mapping
-- The options are secret.
SELECT 'user mapping' AS kind, quote_ident(m.srvname) || '.' || role.name AS object,
       'foreign server ' || quote_ident(m.srvname) AS of
FROM pg_user_mappings m JOIN role ON role.oid = m.umuser
