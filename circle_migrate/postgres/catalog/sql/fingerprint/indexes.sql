-- Before 17, expressions contain their position in the statement, which REINDEX CONCURRENTLY removes.
SELECT sum(hashtextextended(ROW(
    i.indrelid, i.indnatts, i.indnkeyatts, i.indisunique, i.indisprimary, i.indisexclusion,
    i.indimmediate, i.indisclustered, i.indisvalid, i.indisreplident, i.indkey, i.indcollation, i.indclass,
    i.indnullsnotdistinct, -- since 15
    i.indexprs, i.indpred, -- since 17
    regexp_replace(i.indexprs::text, ':location -?\d+', '', 'g'), -- before 17
    regexp_replace(i.indpred::text, ':location -?\d+', '', 'g'), -- before 17
    i.indoption
)::text, own.seed # 5))
FROM pg_index i JOIN relation own ON own.oid = i.indexrelid
