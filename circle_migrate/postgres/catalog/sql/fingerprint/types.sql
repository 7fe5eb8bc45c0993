-- Row types and arrays depend on other objects, except privileges on composite types.
SELECT sum(hashtextextended(t::text, 11))
FROM pg_type t JOIN space ON space.oid = t.typnamespace
WHERE (t.typrelid = 0 OR t.typacl IS NOT NULL) AND t.typelem = 0
