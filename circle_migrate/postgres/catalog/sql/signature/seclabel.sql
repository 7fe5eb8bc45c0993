-- where pg_seclabel
SELECT 0, NULL, xmin, ctid FROM pg_seclabel
