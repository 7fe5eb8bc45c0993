-- where pg_db_role_setting
SELECT 0, NULL, xmin, ctid FROM pg_db_role_setting
