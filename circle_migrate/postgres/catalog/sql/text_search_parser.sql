-- where pg_ts_parser.oid
SELECT 'text search parser' AS kind, space.name || '.' || quote_ident(p.prsname) AS object,
       remark.description AS comment,
       concat_ws(', ', 'START = ' || p.prsstart, 'GETTOKEN = ' || p.prstoken, 'END = ' || p.prsend,
                 'LEXTYPES = ' || p.prslextype, 'HEADLINE = ' || NULLIF(p.prsheadline, 0)::regproc
       ) AS definition
FROM pg_ts_parser p
JOIN space ON space.oid = p.prsnamespace
LEFT JOIN remark ON remark.classoid = 'pg_ts_parser'::regclass AND remark.objoid = p.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_ts_parser'::regclass AND objid = p.oid)
