SELECT place.relation, c.oid::bigint, c.xmin, c.ctid FROM pg_constraint c JOIN place ON place.oid = c.conrelid
UNION ALL
SELECT 0, c.oid::bigint, c.xmin, c.ctid FROM pg_constraint c WHERE c.conrelid = 0 AND c.oid >= 16384
