-- The rows of tables and arrays follow theirs.
SELECT sum(hashtextextended(to_jsonb(t)::text, 11))
FROM pg_type t JOIN space ON space.oid = t.typnamespace
WHERE t.typrelid = 0 AND t.typelem = 0
