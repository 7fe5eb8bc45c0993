SELECT 0, NULL, d.xmin, d.ctid
FROM pg_namespace n JOIN pg_description d ON d.classoid = 'pg_namespace'::regclass AND d.objoid = n.oid
WHERE n.oid < 16384
