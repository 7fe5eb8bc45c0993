-- since 15
SELECT sum(hashtextextended(relation.name || c.conname || c.confdelsetcols::text, 15))
FROM pg_constraint c JOIN relation ON relation.oid = c.conrelid
WHERE c.confdelsetcols IS NOT NULL
