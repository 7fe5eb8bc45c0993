-- where pg_opclass.oid
SELECT 'operator class' AS kind,
       space.name || '.' || quote_ident(o.opcname) || ' USING ' || quote_ident(am.amname) AS object,
       pg_get_userbyid(o.opcowner) AS owner, remark.description AS comment,
       concat_ws(E'\n',
           CASE WHEN o.opcdefault THEN 'DEFAULT' END,
           'FOR TYPE ' || format_type(o.opcintype, NULL),
           'FAMILY ' || quote_ident(n.nspname) || '.' || quote_ident(f.opfname),
           CASE WHEN o.opckeytype <> 0 THEN 'STORAGE ' || format_type(o.opckeytype, NULL) END
       ) AS definition
FROM pg_opclass o
JOIN space ON space.oid = o.opcnamespace
JOIN pg_am am ON am.oid = o.opcmethod
JOIN pg_opfamily f ON f.oid = o.opcfamily
JOIN pg_namespace n ON n.oid = f.opfnamespace
LEFT JOIN remark ON remark.classoid = 'pg_opclass'::regclass AND remark.objoid = o.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_opclass'::regclass AND objid = o.oid)
