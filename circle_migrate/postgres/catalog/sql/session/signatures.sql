-- Follows scope.sql: for each relation, its name and a signature of the versions of all catalog rows that its objects
-- are printed from; for 0, the same of all other rows. `ids` and `id_sum` change if an object gets another id: new ids
-- are higher than those before them. A version is known by xmin and ctid, also after ROLLBACK TO SAVEPOINT.
, place AS MATERIALIZED (
    SELECT c.oid, c.xmin AS version, c.ctid AS location,
           CASE WHEN c.relkind = 't' THEN substr(c.relname, 10)::oid ELSE coalesce(i.indrelid, c.oid) END AS relation
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.oid >= 16384 AND c.relpersistence <> 't'
      AND (c.relkind = 't' OR c.relnamespace <> 'pg_toast'::regnamespace)
),
catalog_row AS (
    SELECT relation, oid::bigint AS id, version, location FROM place
    UNION ALL
    SELECT place.relation, CASE WHEN a.attnum > 0 AND NOT a.attisdropped THEN a.attrelid::bigint * 2000 + a.attnum END,
           a.xmin, a.ctid
    FROM pg_attribute a JOIN place ON place.oid = a.attrelid WHERE a.attrelid >= 16384
    UNION ALL
    SELECT place.relation, NULL, d.xmin, d.ctid FROM pg_attrdef d JOIN place ON place.oid = d.adrelid
    UNION ALL
    SELECT place.relation, NULL, i.xmin, i.ctid FROM pg_index i JOIN place ON place.oid = i.indexrelid
    UNION ALL
    SELECT place.relation, c.oid::bigint, c.xmin, c.ctid FROM pg_constraint c JOIN place ON place.oid = c.conrelid
    UNION ALL
    SELECT 0, c.oid::bigint, c.xmin, c.ctid FROM pg_constraint c WHERE c.conrelid = 0 AND c.oid >= 16384
    UNION ALL
    SELECT place.relation, t.oid::bigint, t.xmin, t.ctid FROM pg_trigger t JOIN place ON place.oid = t.tgrelid
    UNION ALL
    SELECT place.relation, NULL, t.xmin, t.ctid FROM pg_trigger t JOIN place ON place.oid = t.tgconstrrelid
    UNION ALL
    SELECT place.relation, r.oid::bigint, r.xmin, r.ctid
    FROM pg_rewrite r JOIN place ON place.oid = r.ev_class WHERE r.ev_class >= 16384
    UNION ALL
    SELECT place.relation, p.oid::bigint, p.xmin, p.ctid FROM pg_policy p JOIN place ON place.oid = p.polrelid
    UNION ALL
    SELECT place.relation, s.oid::bigint, s.xmin, s.ctid
    FROM pg_statistic_ext s JOIN place ON place.oid = s.stxrelid
    UNION ALL
    SELECT place.relation, NULL, i.xmin, i.ctid FROM pg_inherits i JOIN place ON place.oid = i.inhrelid
    UNION ALL
    SELECT place.relation, NULL, p.xmin, p.ctid FROM pg_partitioned_table p JOIN place ON place.oid = p.partrelid
    UNION ALL
    SELECT place.relation, NULL, s.xmin, s.ctid FROM pg_sequence s JOIN place ON place.oid = s.seqrelid
    UNION ALL
    SELECT coalesce(place.relation, 0), NULL, d.xmin, d.ctid
    FROM pg_description d
    LEFT JOIN place ON d.classoid = 'pg_class'::regclass AND place.oid = d.objoid
    WHERE d.objoid >= 16384
    UNION ALL
    SELECT 0, NULL, d.xmin, d.ctid
    FROM pg_namespace n JOIN pg_description d ON d.classoid = 'pg_namespace'::regclass AND d.objoid = n.oid
    WHERE n.oid < 16384
    UNION ALL
    -- Row types are those of relations; arrays follow their elements.
    SELECT CASE WHEN t.typrelid = 0 THEN 0 ELSE place.relation END, t.oid::bigint, t.xmin, t.ctid
    FROM pg_type t LEFT JOIN place ON place.oid = t.typrelid
    WHERE t.oid >= 16384 AND (t.typelem = 0 OR t.typlen <> -1) AND (t.typrelid = 0 OR place.oid IS NOT NULL)
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_enum
    UNION ALL
    SELECT 0, oid::bigint, xmin, ctid FROM pg_proc WHERE oid >= 16384
    UNION ALL
    SELECT 0, oid::bigint, xmin, ctid FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%temp\_%'
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_extension
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_seclabel
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_db_role_setting
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_default_acl
    UNION ALL
    SELECT 0, NULL, xmin, ctid FROM pg_tablespace
    UNION ALL
    SELECT 0, hashtext(rolname), NULL, NULL FROM pg_roles
),
signature AS (
    SELECT relation, sum(hashtext(concat(version, location))) AS versions, concat(count(id), ' ', sum(id)) AS ids
    FROM catalog_row GROUP BY relation
)
SELECT current_user::text AS role, array_agg(signature.relation::bigint) AS relations, array_agg(versions) AS versions,
       array_agg(ids) AS ids,
       array_agg(coalesce(relation.key, 'sequence ' || space.name || '.' || quote_ident(c.relname))) AS names
FROM signature
LEFT JOIN relation ON relation.oid = signature.relation
LEFT JOIN pg_class c ON c.oid = signature.relation AND c.oid >= 16384 AND c.relkind = 'S'
LEFT JOIN space ON space.oid = c.relnamespace
