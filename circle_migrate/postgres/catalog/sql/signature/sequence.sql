-- where pg_sequence
SELECT place.relation, NULL, s.xmin, s.ctid FROM pg_sequence s JOIN place ON place.oid = s.seqrelid
