-- where pg_inherits
SELECT place.relation, NULL, i.xmin, i.ctid FROM pg_inherits i JOIN place ON place.oid = i.inhrelid
