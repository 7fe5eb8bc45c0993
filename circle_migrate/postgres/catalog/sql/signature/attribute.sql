SELECT place.relation, CASE WHEN a.attnum > 0 AND NOT a.attisdropped THEN a.attrelid::bigint * 2000 + a.attnum END,
       a.xmin, a.ctid
FROM pg_attribute a JOIN place ON place.oid = a.attrelid WHERE a.attrelid >= 16384
