SELECT relation.kind, relation.identity AS object, pg_get_userbyid(c.relowner) AS owner,
       coalesce(c.relacl, acldefault('r', c.relowner))::text[] AS acl, remark.description AS comment,
       CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS persistence,
       (SELECT string_agg(option, E'\n' ORDER BY option)
        FROM (SELECT unnest(c.reloptions) UNION ALL SELECT 'toast.' || unnest(t.reloptions)
              UNION ALL SELECT unnest(ft.ftoptions)) listed (option)
       ) AS options,
       NULLIF(am.amname, 'heap') AS access_method,
       CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
       CASE WHEN c.relispartition THEN parents.identities END AS partition_of,
       pg_get_expr(c.relpartbound, c.oid) AS partition_bound,
       CASE WHEN NOT c.relispartition THEN parents.identities END AS inherits,
       CASE WHEN c.relrowsecurity THEN 'enabled' END AS rls,
       CASE WHEN c.relforcerowsecurity THEN 'yes' END AS rls_forced,
       CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'index'
       END AS replica_identity,
       CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type,
       quote_ident(ts.spcname) AS tablespace,
       quote_ident(s.srvname) AS server
FROM relation
JOIN pg_class c ON c.oid = relation.oid
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid AND t.reloptions IS NOT NULL
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
LEFT JOIN pg_foreign_table ft ON ft.ftrelid = c.oid
LEFT JOIN pg_foreign_server s ON s.oid = ft.ftserver
LEFT JOIN (
    SELECT i.inhrelid,
           string_agg(quote_ident(n.nspname) || '.' || quote_ident(p.relname), E'\n' ORDER BY i.inhseqno)
           AS identities
    FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
    GROUP BY i.inhrelid
) parents ON parents.inhrelid = c.oid
LEFT JOIN remark ON remark.classoid = 'pg_class'::regclass AND remark.objoid = c.oid AND remark.objsubid = 0
WHERE relation.relkind IN ('r', 'p', 'f')
