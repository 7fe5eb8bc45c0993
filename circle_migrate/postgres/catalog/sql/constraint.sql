-- Names that PostgreSQL generates: TABLE_COLUMNS_LABEL with a number where taken (ChooseConstraintName and
-- ChooseIndexName in its source); too long names are truncated, and recognised by their label only.
SELECT 'constraint' AS kind, relation.identity || '.' || quote_ident(name) AS object, relation.key AS of,
       remark.description AS comment,
       CASE c.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'c' THEN 'check'
                      WHEN 'f' THEN 'foreign key' WHEN 'x' THEN 'exclusion' WHEN 'n' THEN 'not null'
       END AS type,
       pg_get_constraintdef(c.oid) AS definition,
       CASE WHEN NOT c.convalidated THEN 'no' END AS validated,
       firing.states AS triggers,
       quote_ident(ts.spcname) AS index_tablespace,
       array_to_string(i.reloptions, E'\n') AS index_options,
       CASE WHEN c.contype = 'n' OR CASE
           WHEN octet_length(c.conname) >= 60 THEN rtrim(c.conname, '0123456789') LIKE '%\_' || label
           WHEN rtrim(c.conname, '0123456789') NOT LIKE '%\_' || label THEN false
           WHEN c.contype = 'p' THEN rtrim(c.conname, '0123456789') = relation.relname || '_pkey'
           ELSE rtrim(c.conname, '0123456789') = concat_ws('_', relation.relname, (
               SELECT CASE WHEN c.contype <> 'c' OR count(*) = 1
                           THEN string_agg(a.attname, '_' ORDER BY array_position(c.conkey, a.attnum), a.attnum)
                      END
               FROM pg_attribute a
               WHERE a.attrelid = CASE WHEN c.contype IN ('c', 'f') THEN c.conrelid ELSE c.conindid END
                 AND (c.contype NOT IN ('c', 'f') OR a.attnum = ANY (c.conkey))
           ), label) END
       THEN 'yes' END AS generated_name,
       CASE WHEN c.coninhcount > 0 THEN 'yes' END AS inherited,
       CASE WHEN c.coninhcount > 0 AND c.conislocal THEN 'yes' END AS local
FROM pg_constraint c
JOIN relation ON relation.oid = c.conrelid
CROSS JOIN LATERAL (
    SELECT CASE c.contype WHEN 'p' THEN 'pkey' WHEN 'u' THEN 'key' WHEN 'x' THEN 'excl'
                          WHEN 'f' THEN 'fkey' WHEN 'c' THEN 'check' END AS label,
           CASE WHEN c.contype = 'n' THEN (
               SELECT CASE WHEN EXISTS (
                          SELECT FROM pg_constraint other
                          WHERE other.conrelid = c.conrelid AND other.conname = a.attname || '_not_null'
                            AND other.contype <> 'n'
                      ) THEN 'NOT NULL ' || a.attname ELSE a.attname || '_not_null' END
               FROM pg_attribute a
               WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
           ) ELSE c.conname END AS name
) named
LEFT JOIN pg_class i ON i.oid = c.conindid AND c.contype IN ('p', 'u', 'x')
LEFT JOIN pg_tablespace ts ON ts.oid = i.reltablespace
LEFT JOIN (
    SELECT tgconstraint,
           string_agg(DISTINCT tgrelid::regclass || CASE tgenabled WHEN 'D' THEN ' disabled'
                                                                   WHEN 'R' THEN ' replica'
                                                                   WHEN 'A' THEN ' always' END, E'\n') AS states
    FROM pg_trigger WHERE tgisinternal AND tgenabled <> 'O' GROUP BY tgconstraint
) firing ON firing.tgconstraint = c.oid AND c.contype = 'f'
LEFT JOIN remark ON remark.classoid = 'pg_constraint'::regclass AND remark.objoid = c.oid
WHERE (c.contype IN ('p', 'u', 'c', 'f', 'x')
       -- Omit what the field not_null of the column shows.
       OR (c.contype = 'n' AND (NOT c.convalidated OR c.connoinherit OR remark.description IS NOT NULL
                                OR (c.coninhcount > 0 AND c.conislocal))))
  -- A foreign key to a partitioned table has internal constraints for every partition.
  AND (c.conparentid = 0
       OR c.conrelid <> (SELECT p.conrelid FROM pg_constraint p WHERE p.oid = c.conparentid))
