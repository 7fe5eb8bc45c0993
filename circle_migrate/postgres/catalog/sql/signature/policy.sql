-- where pg_policy
SELECT place.relation, p.oid::bigint, p.xmin, p.ctid FROM pg_policy p JOIN place ON place.oid = p.polrelid
