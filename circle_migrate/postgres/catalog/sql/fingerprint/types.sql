-- The rows of tables and arrays follow theirs, but for privileges on composite types.
SELECT sum(hashtextextended(t::text, 11))
FROM pg_type t JOIN space ON space.oid = t.typnamespace
WHERE (t.typrelid = 0 OR t.typacl IS NOT NULL) AND t.typelem = 0
