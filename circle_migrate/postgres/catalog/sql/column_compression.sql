-- since 14
SELECT 'column' AS kind, relation.identity || '.' || quote_ident(a.attname) AS object, relation.key AS of,
       CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE a.attcompression::text
       END AS compression
FROM relation JOIN pg_attribute a ON a.attrelid = relation.oid
WHERE a.attrelid >= 16384 AND a.attnum > 0 AND a.attcompression <> '' AND NOT a.attisdropped
