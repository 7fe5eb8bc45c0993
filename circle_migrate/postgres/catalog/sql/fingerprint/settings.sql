-- where pg_db_role_setting
SELECT sum(hashtextextended(s::text, 3))
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase AND d.datname = current_database()
