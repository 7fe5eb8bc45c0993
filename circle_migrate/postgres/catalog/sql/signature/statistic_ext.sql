-- where pg_statistic_ext
SELECT place.relation, s.oid::bigint, s.xmin, s.ctid
FROM pg_statistic_ext s JOIN place ON place.oid = s.stxrelid
