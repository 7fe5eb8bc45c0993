-- Columns of an index depend on its definition, except statistics targets and options of operator classes.
SELECT sum(hashtextextended(ROW(
    a.attname, a.attnum, a.atttypid, a.atttypmod, a.attnotnull, a.attstorage, a.attidentity,
    a.attgenerated, a.attislocal, a.attinhcount, a.attcollation, a.attstattarget, a.attacl,
    CASE WHEN a.attoptions IS NOT NULL THEN -- as in ../column.sql
        NULLIF(ARRAY(SELECT option FROM unnest(a.attoptions) option WHERE option NOT LIKE 'pg\_attver=%'), '{}')
    END,
    a.attcompression, -- since 14
    a.attfdwoptions
)::text, relation.seed # 2))
FROM pg_attribute a JOIN relation ON relation.oid = a.attrelid
WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
  AND (relation.relkind NOT IN ('i', 'I', 'S') OR a.attstattarget >= 0 OR a.attoptions IS NOT NULL)
