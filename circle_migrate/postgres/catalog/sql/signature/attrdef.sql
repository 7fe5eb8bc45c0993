SELECT place.relation, NULL, d.xmin, d.ctid FROM pg_attrdef d JOIN place ON place.oid = d.adrelid
