-- where pg_event_trigger
SELECT 'event trigger' AS kind, quote_ident(e.evtname) AS object, pg_get_userbyid(e.evtowner) AS owner,
       remark.description AS comment, e.evtevent::text AS event, array_to_string(e.evttags, E'\n') AS tags,
       e.evtfoid::regprocedure::text AS function,
       CASE e.evtenabled WHEN 'O' THEN 'origin' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica'
                         ELSE 'always' END AS enabled
FROM pg_event_trigger e
LEFT JOIN remark ON remark.classoid = 'pg_event_trigger'::regclass AND remark.objoid = e.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_event_trigger'::regclass AND objid = e.oid)
