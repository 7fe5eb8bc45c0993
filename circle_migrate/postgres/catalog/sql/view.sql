-- where pg_rewrite.oid
SELECT relation.kind, relation.identity AS object, pg_get_userbyid(c.relowner) AS owner,
       coalesce(c.relacl, acldefault('r', c.relowner))::text[] AS acl, remark.description AS comment,
       pg_get_viewdef(c.oid) AS definition, array_to_string(c.reloptions, E'\n') AS options,
       CASE WHEN NOT c.relispopulated THEN 'no' END AS populated,
       quote_ident(ts.spcname) AS tablespace, NULLIF(am.amname, 'heap') AS access_method
FROM relation
JOIN pg_class c ON c.oid = relation.oid
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
LEFT JOIN remark ON remark.classoid = 'pg_class'::regclass AND remark.objoid = c.oid AND remark.objsubid = 0
WHERE relation.relkind IN ('v', 'm')
