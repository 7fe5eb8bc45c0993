-- Precedes scope.sql: the relations $4 and those that are printed with their names or columns: tables of sequences, views
-- and rules, policies. `whole` is true if a function is, too.
dependent AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($4::oid[])
    UNION
    SELECT d.classid, d.objid FROM pg_constraint c
    JOIN pg_depend d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = c.oid
    WHERE c.conrelid = ANY ($4::oid[])
),
changed AS MATERIALIZED (
    SELECT unnest($4::oid[]) AS oid
    UNION
    SELECT refobjid FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = ANY ($4::oid[]) AND refclassid = 'pg_class'::regclass
      AND deptype IN ('a', 'i')
    UNION
    SELECT r.ev_class FROM dependent d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    UNION
    SELECT p.polrelid FROM dependent d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
),
