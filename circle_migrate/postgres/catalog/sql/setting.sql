-- where pg_db_role_setting
-- Settings of the database are named `database.NAME`; a role of that name is quoted.
SELECT 'setting' AS kind,
       CASE WHEN s.setrole = 0 THEN 'database' WHEN role.name = 'database' THEN '"database"' ELSE role.name END
       || '.' || split_part(item, '=', 1) AS object,
       substr(item, strpos(item, '=') + 1) AS value
FROM pg_db_role_setting s
JOIN pg_database d ON d.oid = s.setdatabase AND d.datname = current_database()
LEFT JOIN role ON role.oid = s.setrole
CROSS JOIN LATERAL unnest(s.setconfig) item
