-- where pg_user_mapping
-- The options are secret: as of servers, 8 bits of a digest are returned. The view has options that the role may read;
-- without any, it may not know whether there are some.
SELECT 'user mapping' AS kind, quote_ident(m.srvname) || '.' || role.name AS object,
       'foreign server ' || quote_ident(m.srvname) AS of,
       CASE WHEN m.umoptions IS NOT NULL THEN array_to_string(ARRAY(
           SELECT split_part(o, '=', 1) || '=<hidden ' || left(md5(m.srvname || o), 2) || '>'
           FROM unnest(m.umoptions) o
       ), E'\n') WHEN NOT self.rolsuper THEN '<hidden>' END AS options
FROM pg_user_mappings m JOIN role ON role.oid = m.umuser
JOIN pg_roles self ON self.rolname = current_user
