SELECT coalesce(place.relation, 0), NULL, d.xmin, d.ctid
FROM pg_description d
LEFT JOIN place ON d.classoid = 'pg_class'::regclass AND place.oid = d.objoid
WHERE d.objoid >= 16384
