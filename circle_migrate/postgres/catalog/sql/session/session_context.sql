-- Schema and owner of Alembic's table $1, and the version of the server. Without a schema $2, it is the first existing
-- schema of the search_path, even if the role may not use it.
SELECT place.schema, place.role, owner.rolname AS owner,
       current_setting('server_version_num')::int AS version
FROM (
    SELECT place.schema, coalesce(c.relowner, self.oid) AS role
    FROM (
        SELECT coalesce($2::name, (
            SELECT n.nspname
            FROM unnest(string_to_array(
                coalesce(current_setting('circle_migrate.search_path', true), current_setting('search_path')), ','
            )) WITH ORDINALITY path (name, nth)
            JOIN pg_catalog.pg_namespace n
                ON n.nspname = replace(btrim(path.name, ' "'), '$user', current_user)
            ORDER BY nth LIMIT 1
        ), 'public')::name AS schema
    ) place
    JOIN pg_catalog.pg_roles self ON self.rolname = current_user
    LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = place.schema
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $1::name
) place
JOIN pg_catalog.pg_roles owner ON owner.oid = place.role
