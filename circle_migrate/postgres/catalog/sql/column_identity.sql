-- where pg_sequence
-- Bounds depend on type and direction, persistence is that of the table, privileges are those of a new sequence;
-- only values that differ are returned.
SELECT 'column' AS kind, relation.identity || '.' || quote_ident(a.attname) AS object, relation.key AS of,
       concat_ws(E'\n',
           CASE a.attidentity WHEN 'a' THEN 'always' ELSE 'by default' END,
           CASE WHEN s.seqincrement <> 1 THEN 'INCREMENT BY ' || s.seqincrement END,
           CASE WHEN s.seqmin <> lowest THEN 'MINVALUE ' || s.seqmin END,
           CASE WHEN s.seqmax <> highest THEN 'MAXVALUE ' || s.seqmax END,
           CASE WHEN s.seqstart <> CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END
                THEN 'START WITH ' || s.seqstart END,
           CASE WHEN s.seqcache <> 1 THEN 'CACHE ' || s.seqcache END,
           CASE WHEN s.seqcycle THEN 'CYCLE' END,
           CASE WHEN s.seqtypid <> a.atttypid THEN 'AS ' || format_type(s.seqtypid, NULL) END
       ) AS identity,
       CASE WHEN c.relname <> relation.relname || '_' || a.attname || '_seq' THEN quote_ident(c.relname)
       END AS identity_sequence,
       CASE WHEN granted THEN c.relacl::text[] END AS sequence_acl,
       CASE WHEN granted THEN pg_get_userbyid(c.relowner) END AS acl_of,
       CASE WHEN c.relpersistence <> owner.relpersistence AND current_setting('server_version_num')::int >= 150000
            THEN CASE c.relpersistence WHEN 'u' THEN 'unlogged' ELSE 'logged' END
       END AS sequence_persistence,
       remark.description AS sequence_comment
FROM relation
JOIN pg_class owner ON owner.oid = relation.oid
JOIN pg_attribute a ON a.attrelid = relation.oid AND a.attrelid >= 16384 AND a.attidentity <> ''
    AND NOT a.attisdropped
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
    AND d.refobjsubid = a.attnum AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
JOIN pg_sequence s ON s.seqrelid = c.oid
LEFT JOIN remark ON remark.classoid = 'pg_class'::regclass AND remark.objoid = c.oid AND remark.objsubid = 0
CROSS JOIN LATERAL (
    SELECT CASE s.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                           ELSE 9223372036854775807 END AS greatest
) bound
CROSS JOIN LATERAL (SELECT acldefault('s', c.relowner)::text[] AS usual) privileges
CROSS JOIN LATERAL (SELECT NOT (c.relacl::text[] @> usual AND c.relacl::text[] <@ usual) AS granted) unusual
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.seqincrement > 0 THEN 1 ELSE - greatest - 1 END AS lowest,
           CASE WHEN s.seqincrement > 0 THEN greatest ELSE -1 END AS highest
) bounds
