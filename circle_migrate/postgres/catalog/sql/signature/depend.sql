SELECT 0, NULL, xmin, ctid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
