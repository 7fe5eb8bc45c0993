-- Enumerations, domains, composite and range types; arrays, multiranges and row types belong to other objects.
-- In labels, a line break is written as \n, a backslash as two.
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'c' THEN 'composite type'
                      ELSE 'range type' END AS kind,
       space.name || '.' || quote_ident(t.typname) AS object, pg_get_userbyid(t.typowner) AS owner,
       coalesce(t.typacl, acldefault('T', t.typowner))::text[] AS acl, remark.description AS comment,
       (SELECT string_agg(replace(replace(e.enumlabel, E'\\', E'\\\\'), E'\n', E'\\n'), E'\n'
                          ORDER BY e.enumsortorder)
        FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels,
       CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS type,
       CASE WHEN t.typtype = 'd' AND t.typnotnull THEN 'yes' END AS not_null,
       CASE t.typtype WHEN 'd' THEN pg_get_expr(t.typdefaultbin, 0) END AS default,
       CASE WHEN t.typtype = 'd' AND t.typcollation <> base.typcollation
            THEN t.typcollation::regcollation::text END AS collation,
       (SELECT string_agg(
                   quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                   || CASE WHEN a.attcollation <> at.typcollation
                           THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
                   E'\n' ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_type at ON at.oid = a.atttypid
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes,
       (SELECT string_agg(quote_ident(a.attname) || ': ' || r.description, E'\n' ORDER BY a.attnum)
        FROM remark r JOIN pg_attribute a ON a.attrelid = r.objoid AND a.attnum = r.objsubid
        WHERE r.classoid = 'pg_class'::regclass AND r.objoid = t.typrelid AND r.objsubid > 0
       ) AS attribute_comments
FROM pg_type t
JOIN space ON space.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
LEFT JOIN pg_type base ON base.oid = t.typbasetype
LEFT JOIN remark ON remark.classoid = 'pg_type'::regclass AND remark.objoid = t.oid
WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
