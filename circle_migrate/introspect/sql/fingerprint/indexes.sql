-- Before 17, expressions say where in the statement they stood, which REINDEX CONCURRENTLY forgets.
SELECT sum(hashtextextended(ROW(
    own.name, i.indrelid, i.indnatts, i.indnkeyatts, i.indisunique, i.indisprimary, i.indisexclusion,
    i.indimmediate, i.indisclustered, i.indisvalid, i.indisreplident, i.indkey, i.indcollation, i.indclass,
    i.indoption, regexp_replace(i.indexprs::text, ':location -?\d+', '', 'g'),
    regexp_replace(i.indpred::text, ':location -?\d+', '', 'g')
)::text, 5))
FROM pg_index i JOIN relation own ON own.oid = i.indexrelid
