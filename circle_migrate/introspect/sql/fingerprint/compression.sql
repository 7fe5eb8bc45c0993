-- since 14
SELECT sum(hashtextextended(relation.name || a.attname || a.attcompression::text, 3))
FROM pg_attribute a JOIN relation ON relation.oid = a.attrelid
WHERE a.attcompression <> '' AND a.attrelid >= 16384 AND NOT a.attisdropped
