-- where pg_enum
SELECT 0, NULL, xmin, ctid FROM pg_enum
