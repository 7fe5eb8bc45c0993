-- An index of a constraint is defined by the constraint, so only its state is returned: deparsing is slow.
-- The definition of a plain B-tree index is composed here as pg_get_indexdef prints it, in a third of the time.
-- An index is plain if it has only columns (no expression, no INCLUDE) with their own collation and their default
-- operator class, which comes with the server and so takes no options.
SELECT 'index' AS kind, space.name || '.' || quote_ident(c.relname) AS object, relation.key AS of,
       remark.description AS comment,
       CASE WHEN con.oid IS NOT NULL THEN NULL
            WHEN plain.columns IS NULL OR c.relkind <> 'i' OR c.reloptions IS NOT NULL
            THEN pg_get_indexdef(i.indexrelid)
            ELSE 'CREATE INDEX ' || quote_ident(c.relname) || ' ON ' || relation.identity
                 || ' USING btree (' || plain.columns || ')'
                 || coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '')
       END AS definition,
       quote_ident(con.conname) AS constraint,
       CASE WHEN NOT i.indisvalid THEN 'no' END AS valid,
       CASE WHEN i.indisclustered THEN 'yes' END AS clustered,
       CASE WHEN i.indisreplident THEN 'yes' END AS replica_identity,
       -- Only expressions can have their own statistics target.
       CASE WHEN i.indexprs IS NOT NULL THEN (
           SELECT string_agg(a.attnum || ': ' || a.attstattarget, E'\n' ORDER BY a.attnum)
           FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attstattarget >= 0
       ) END AS statistics,
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
LEFT JOIN (
    SELECT indexrelid,
           string_agg(quote_ident(a.attname) || CASE part.option WHEN 0 THEN '' WHEN 1 THEN ' DESC NULLS LAST'
                      WHEN 2 THEN ' NULLS FIRST' ELSE ' DESC' END, ', ' ORDER BY nth) AS columns
    FROM (
        SELECT indexrelid, indrelid, indnatts, generate_subscripts(indkey, 1) AS nth, unnest(indkey) AS attnum,
               unnest(indclass) AS opclass, unnest(indcollation) AS collation, unnest(indoption) AS option
        FROM pg_index WHERE indexrelid >= 16384 AND NOT indisunique
    ) part
    JOIN pg_attribute a ON a.attrelid = part.indrelid AND a.attrelid >= 16384 AND a.attnum = part.attnum
        AND a.attcollation = part.collation
    JOIN pg_opclass o ON o.oid = part.opclass AND o.oid < 16384 AND o.opcdefault
        AND (a.atttypid = o.opcintype OR a.atttypid = 'varchar'::regtype AND o.opcintype = 'text'::regtype
             AND NOT EXISTS (SELECT FROM pg_opclass WHERE opcdefault AND opcintype = 'varchar'::regtype))
    JOIN pg_am am ON am.oid = o.opcmethod AND am.amname = 'btree'
    GROUP BY indexrelid, indnatts
    HAVING count(*) = indnatts
) plain ON plain.indexrelid = i.indexrelid
LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
LEFT JOIN remark ON remark.classoid = 'pg_class'::regclass AND remark.objoid = c.oid AND remark.objsubid = 0
