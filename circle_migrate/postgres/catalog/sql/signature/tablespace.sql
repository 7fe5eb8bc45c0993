SELECT 0, NULL, xmin, ctid FROM pg_tablespace
