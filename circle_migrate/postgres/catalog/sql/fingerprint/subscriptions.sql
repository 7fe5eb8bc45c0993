-- where pg_subscription
SELECT sum(hashtextextended(ROW(subname, subowner, subenabled, subslotname, subpublications)::text, 6))
FROM pg_subscription JOIN pg_database d ON d.oid = subdbid AND d.datname = current_database()
