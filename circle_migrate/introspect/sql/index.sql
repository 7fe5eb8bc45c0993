-- The index of a constraint is defined by it, and deparsing is the dearest part of all: its state alone is here.
SELECT 'index' AS kind, space.name || '.' || quote_ident(c.relname) AS object, relation.key AS of,
       remark.description AS comment,
       CASE WHEN con.oid IS NULL THEN pg_get_indexdef(i.indexrelid) END AS definition,
       quote_ident(con.conname) AS constraint,
       CASE WHEN NOT i.indisvalid THEN 'no' END AS valid,
       CASE WHEN i.indisclustered THEN 'yes' END AS clustered,
       CASE WHEN i.indisreplident THEN 'yes' END AS replica_identity,
       targets.statistics,
       CASE WHEN con.oid IS NULL THEN quote_ident(ts.spcname) END AS tablespace,
       CASE WHEN con.oid IS NULL AND c.relname LIKE '%\_idx%' AND (
           rtrim(c.relname, '0123456789') = relation.relname || '_' || (
               SELECT string_agg(a.attname, '_' ORDER BY a.attnum)
               FROM pg_attribute a WHERE a.attrelid = c.oid
           ) || '_idx' OR octet_length(c.relname) >= 60
       ) THEN 'yes' END AS generated_name,
       CASE WHEN c.relispartition THEN 'yes' END AS inherited
FROM pg_index i
JOIN relation ON relation.oid = i.indrelid
JOIN pg_class c ON c.oid = i.indexrelid
JOIN space ON space.oid = c.relnamespace
LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
LEFT JOIN (
    SELECT attrelid, string_agg(attnum || ': ' || attstattarget, E'\n' ORDER BY attnum) AS statistics
    FROM pg_attribute WHERE attstattarget >= 0 AND attnum > 0 AND attrelid >= 16384 GROUP BY attrelid
) targets ON targets.attrelid = c.oid
LEFT JOIN remark ON remark.classoid = 'pg_class'::regclass AND remark.objoid = c.oid AND remark.objsubid = 0
