-- where pg_subscription
SELECT sum(hashtextextended(ROW(subname, subowner, subenabled, subslotname, subpublications,
    subbinary, substream, -- since 14
    subtwophasestate <> 'd', subdisableonerr, -- since 15
    subpasswordrequired, subrunasowner, suborigin, -- since 16
    subfailover, -- since 17
    subsynccommit)::text, 6))
FROM pg_subscription JOIN pg_database d ON d.oid = subdbid AND d.datname = current_database()
