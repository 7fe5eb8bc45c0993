SELECT place.relation, NULL, i.xmin, i.ctid FROM pg_index i JOIN place ON place.oid = i.indexrelid
