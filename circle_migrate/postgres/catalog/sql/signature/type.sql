-- Row types are those of relations; arrays follow their elements.
SELECT CASE WHEN t.typrelid = 0 THEN 0 ELSE place.relation END, t.oid::bigint, t.xmin, t.ctid
FROM pg_type t LEFT JOIN place ON place.oid = t.typrelid
WHERE t.oid >= 16384 AND (t.typelem = 0 OR t.typlen <> -1) AND (t.typrelid = 0 OR place.oid IS NOT NULL)
