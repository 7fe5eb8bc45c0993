-- Follows the common table expression `signature`, and precedes scope.sql. `moved` are the relations whose signatures are
-- not those in $5, of the relations $4; `changed` also those that are printed with their names or columns: tables of
-- sequences, views and rules, policies. `whole` is true if a function is, too.
moved AS MATERIALIZED (
    SELECT relation::oid AS oid, signature.versions, ids, name
    FROM signature FULL JOIN unnest($4::bigint[], $5::bigint[]) known (relation, versions) USING (relation)
    WHERE signature.versions IS DISTINCT FROM known.versions
),
dependent AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (ARRAY(SELECT oid FROM moved))
    UNION
    SELECT d.classid, d.objid FROM pg_constraint c
    JOIN pg_depend d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = c.oid
    WHERE c.conrelid = ANY (ARRAY(SELECT oid FROM moved))
),
changed AS MATERIALIZED (
    SELECT oid FROM moved
    UNION
    SELECT refobjid FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = ANY (ARRAY(SELECT oid FROM moved)) AND refclassid = 'pg_class'::regclass
      AND deptype IN ('a', 'i')
    UNION
    SELECT r.ev_class FROM dependent d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    UNION
    SELECT p.polrelid FROM dependent d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
),
