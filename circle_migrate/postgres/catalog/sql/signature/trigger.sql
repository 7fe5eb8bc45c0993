-- where pg_trigger
SELECT place.relation, t.oid::bigint, t.xmin, t.ctid FROM pg_trigger t JOIN place ON place.oid = t.tgrelid
UNION ALL
SELECT place.relation, NULL, t.xmin, t.ctid FROM pg_trigger t JOIN place ON place.oid = t.tgconstrrelid
