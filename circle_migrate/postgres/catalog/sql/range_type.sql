-- where pg_range.rngtypid
SELECT 'range type' AS kind, space.name || '.' || quote_ident(t.typname) AS object,
       format_type(r.rngsubtype, NULL) AS subtype,
       quote_ident(n.nspname) || '.' || quote_ident(o.opcname) AS opclass,
       CASE WHEN r.rngcollation <> sub.typcollation THEN r.rngcollation::regcollation::text END AS collation,
       NULLIF(r.rngcanonical, 0)::regprocedure::text AS canonical,
       NULLIF(r.rngsubdiff, 0)::regprocedure::text AS diff,
       format_type((to_jsonb(r) ->> 'rngmultitypid')::oid, NULL) AS multirange
FROM pg_range r
JOIN pg_type t ON t.oid = r.rngtypid
JOIN space ON space.oid = t.typnamespace
JOIN pg_type sub ON sub.oid = r.rngsubtype
JOIN pg_opclass o ON o.oid = r.rngsubopc
JOIN pg_namespace n ON n.oid = o.opcnamespace
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
