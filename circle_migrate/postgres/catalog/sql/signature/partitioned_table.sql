-- where pg_partitioned_table
SELECT place.relation, NULL, p.xmin, p.ctid FROM pg_partitioned_table p JOIN place ON place.oid = p.partrelid
