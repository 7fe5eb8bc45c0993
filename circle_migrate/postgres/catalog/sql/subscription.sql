-- where pg_subscription
-- Only columns that all roles may read: the connection string is secret.
SELECT 'subscription' AS kind, quote_ident(s.subname) AS object, pg_get_userbyid(s.subowner) AS owner,
       (SELECT string_agg(name, E'\n' ORDER BY name) FROM unnest(s.subpublications) name) AS publications,
       CASE WHEN s.subenabled THEN 'yes' ELSE 'no' END AS enabled, s.subslotname::text AS slot,
       obj_description(s.oid, 'pg_subscription') AS comment,
       concat_ws(E'\n',
           'binary=' || s.subbinary, -- since 14
           'streaming=' || left(s.substream::text, 1), -- since 14
           'two_phase=' || (s.subtwophasestate <> 'd'), -- since 15
           'disable_on_error=' || s.subdisableonerr, -- since 15
           'password_required=' || s.subpasswordrequired, -- since 16
           'run_as_owner=' || s.subrunasowner, -- since 16
           'origin=' || s.suborigin, -- since 16
           'failover=' || s.subfailover, -- since 17
           'synchronous_commit=' || s.subsynccommit
       ) AS options
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = current_database()
