-- where pg_rewrite.oid
SELECT place.relation, r.oid::bigint, r.xmin, r.ctid
FROM pg_rewrite r JOIN place ON place.oid = r.ev_class WHERE r.ev_class >= 16384
