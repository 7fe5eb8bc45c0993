SELECT sum(hashtextextended(ROW(
    own.name, i.indrelid, i.indnatts, i.indnkeyatts, i.indisunique, i.indisprimary, i.indisexclusion,
    i.indimmediate, i.indisclustered, i.indisvalid, i.indisreplident, i.indkey, i.indcollation, i.indclass,
    i.indoption, i.indexprs, i.indpred
)::text, 5))
FROM pg_index i JOIN relation own ON own.oid = i.indexrelid
