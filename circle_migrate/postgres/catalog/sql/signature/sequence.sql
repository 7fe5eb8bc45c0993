-- Not restricted by `where`, which does not count the sequences of our own tables.
SELECT place.relation, NULL, s.xmin, s.ctid FROM pg_sequence s JOIN place ON place.oid = s.seqrelid
