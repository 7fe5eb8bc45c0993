-- Defaults refer to no columns, so they are printed without their table (0), which halves the time.
-- Positions do not count dropped columns, which are queried separately because they are few.
SELECT 'column' AS kind, relation.identity || '.' || quote_ident(a.attname) AS object, relation.key AS of,
       remark.description AS comment, a.attacl::text[] AS acl,
       CASE WHEN a.attacl IS NOT NULL THEN pg_get_userbyid(relation.relowner) END AS acl_of,
       CASE WHEN described THEN format_type(a.atttypid, a.atttypmod) END AS type,
       CASE WHEN described AND a.attnotnull THEN 'yes' END AS not_null,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, 0) END AS default,
       CASE a.attgenerated
           WHEN 's' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED'
           WHEN 'v' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') VIRTUAL'
       END AS generated,
       CASE WHEN described AND a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text
       END AS collation,
       CASE WHEN a.attstorage <> t.typstorage AND relation.relkind <> 'v' THEN
           CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
                             WHEN 'm' THEN 'main' WHEN 'x' THEN 'extended' END
       END AS storage,
       NULLIF(a.attstattarget, -1)::text AS statistics,
       options,
       CASE WHEN described THEN
           (a.attnum - CASE WHEN gone.numbers IS NULL THEN 0 ELSE (
               SELECT count(*) FROM unnest(gone.numbers) number WHERE number < a.attnum
           ) END)::text
       END AS position,
       CASE WHEN a.attinhcount > 0 THEN 'yes' END AS inherited,
       CASE WHEN a.attinhcount > 0 AND a.attislocal THEN 'yes' END AS local
FROM relation
CROSS JOIN LATERAL (SELECT relation.relkind IN ('r', 'p', 'f') AS described) of_table
JOIN pg_attribute a
    ON a.attrelid = relation.oid AND a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    -- Servers since November 2026 (15.20) keep a number there that pg_dump omits; it differs between databases.
    SELECT NULLIF(ltrim(regexp_replace(
        array_to_string(a.attoptions || a.attfdwoptions, E'\n'), '(^|\n)pg_attver=[^\n]*', '', 'g'
    ), E'\n'), '') AS options
) of_column
LEFT JOIN (
    SELECT attrelid, array_agg(attnum) AS numbers FROM pg_attribute
    WHERE attrelid >= 16384 AND attisdropped
      AND attrelid = ANY (ARRAY(SELECT oid FROM changed)) -- where changed
    GROUP BY attrelid
) gone ON gone.attrelid = a.attrelid
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN remark
    ON remark.classoid = 'pg_class'::regclass AND remark.objoid = a.attrelid AND remark.objsubid = a.attnum
WHERE described OR a.attacl IS NOT NULL OR remark.description IS NOT NULL OR d.adbin IS NOT NULL
   OR a.attstattarget >= 0 OR options IS NOT NULL
   OR (relation.relkind = 'm' AND a.attstorage <> t.typstorage)
