SELECT 0, oid::bigint, xmin, ctid FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%temp\_%'
