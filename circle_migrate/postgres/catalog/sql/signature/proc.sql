SELECT 0, oid::bigint, xmin, ctid FROM pg_proc WHERE oid >= 16384
