-- since 18
SELECT sum(hashtextextended(relation.name || c.conname, 8))
FROM pg_constraint c JOIN relation ON relation.oid = c.conrelid
WHERE NOT c.conenforced
