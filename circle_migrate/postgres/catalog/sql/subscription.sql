-- where pg_subscription
-- Only columns that all roles may read: the connection string is secret.
SELECT 'subscription' AS kind, quote_ident(s.subname) AS object, pg_get_userbyid(s.subowner) AS owner,
       (SELECT string_agg(name, E'\n' ORDER BY name) FROM unnest(s.subpublications) name) AS publications,
       CASE WHEN s.subenabled THEN 'yes' ELSE 'no' END AS enabled, s.subslotname::text AS slot
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = current_database()
