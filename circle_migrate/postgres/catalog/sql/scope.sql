-- Common table expressions of all queries: the objects and their names. Objects of extensions, of the system and of
-- temporary schemas are omitted, as are our own schemas, and the tables named $2 in schema $1 with their dependent
-- objects.
-- $3 is the role that is written as <owner>. Follows WITH, and session/changed.sql if only the objects of changed
-- relations are read.
member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
),
space AS MATERIALIZED (
    SELECT oid, nspname, quote_ident(nspname) AS name FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('information_schema', 'circle_kept')
      AND nspname <> coalesce(current_setting('circle_migrate.journal_schema', true), 'circle_migrate')
),
relation AS MATERIALIZED (
    SELECT oid, relkind, relname, relowner, named.kind, named.identity, named.kind || ' ' || named.identity AS key
    FROM (
        SELECT c.oid, c.relkind, c.relname, c.relowner, space.name || '.' || quote_ident(c.relname) AS identity,
               CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                              WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind
        FROM pg_class c JOIN space ON space.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384
          AND c.oid = ANY (ARRAY(SELECT oid FROM changed)) -- where changed
          AND (space.nspname <> $1::name OR c.relname <> ALL ($2::text[]::name[]))
          AND NOT EXISTS (
              SELECT FROM member WHERE member.classid = 'pg_class'::regclass AND member.objid = c.oid
          )
    ) named
),
remark AS MATERIALIZED (
    SELECT classoid, objoid, objsubid, description FROM pg_description WHERE objoid >= 16384
),
role AS MATERIALIZED (
    SELECT oid, CASE oid WHEN $3::oid THEN '<owner>' ELSE quote_ident(rolname) END AS name FROM pg_roles
    UNION ALL SELECT 0, 'public'
)
