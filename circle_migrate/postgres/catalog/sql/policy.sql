-- where pg_policy
SELECT 'policy' AS kind, object, of, comment, command, permissive, roles, "using", "check",
       'CREATE POLICY ' || name || ' ON ' || table_identity || ' AS '
       || CASE permissive WHEN 'yes' THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END
       || ' FOR ' || command || ' TO ' || replace(roles, E'\n', ', ')
       || coalesce(' USING (' || "using" || ')', '') || coalesce(' WITH CHECK (' || "check" || ')', '')
       AS definition
FROM (
    SELECT relation.identity || '.' || quote_ident(p.polname) AS object, relation.key AS of,
           relation.identity AS table_identity, quote_ident(p.polname) AS name,
           remark.description AS comment,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                         WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,
           CASE WHEN p.polpermissive THEN 'yes' ELSE 'no' END AS permissive,
           (SELECT string_agg(role.name, E'\n' ORDER BY role.name) FROM role
            WHERE role.oid = ANY (p.polroles)) AS roles,
           pg_get_expr(p.polqual, p.polrelid) AS "using",
           pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
    FROM pg_policy p
    JOIN relation ON relation.oid = p.polrelid
    LEFT JOIN remark ON remark.classoid = 'pg_policy'::regclass AND remark.objoid = p.oid
) policy
