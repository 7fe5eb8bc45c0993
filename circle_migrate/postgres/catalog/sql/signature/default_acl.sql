-- where pg_default_acl
SELECT 0, NULL, xmin, ctid FROM pg_default_acl
