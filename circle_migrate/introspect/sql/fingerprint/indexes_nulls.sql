-- since 15
SELECT sum(hashtextextended(own.name, 6))
FROM pg_index i JOIN relation own ON own.oid = i.indexrelid
WHERE i.indnullsnotdistinct
