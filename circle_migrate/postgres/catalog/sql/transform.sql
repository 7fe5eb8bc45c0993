-- where pg_transform
SELECT 'transform' AS kind,
       'FOR ' || format_type(t.trftype, NULL) || ' LANGUAGE ' || quote_ident(l.lanname) AS object,
       remark.description AS comment,
       concat_ws(', ', 'FROM SQL WITH FUNCTION ' || NULLIF(t.trffromsql, 0)::regprocedure,
                 'TO SQL WITH FUNCTION ' || NULLIF(t.trftosql, 0)::regprocedure) AS definition
FROM pg_transform t
JOIN pg_language l ON l.oid = t.trflang
LEFT JOIN remark ON remark.classoid = 'pg_transform'::regclass AND remark.objoid = t.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_transform'::regclass AND objid = t.oid)
