SELECT sum(hashtextextended(relation.name || t.reloptions::text, 1))
FROM pg_class t JOIN relation ON relation.reltoastrelid = t.oid
WHERE t.reloptions IS NOT NULL
