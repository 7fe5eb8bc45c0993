-- where pg_trigger
SELECT 'trigger' AS kind, relation.identity || '.' || quote_ident(t.tgname) AS object, relation.key AS of,
       remark.description AS comment, pg_get_triggerdef(t.oid) AS definition,
       CASE t.tgenabled WHEN 'O' THEN 'origin' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica'
                        ELSE 'always' END AS enabled,
       CASE WHEN t.tgparentid <> 0 THEN 'yes' END AS inherited
FROM pg_trigger t
JOIN relation ON relation.oid = t.tgrelid
LEFT JOIN remark ON remark.classoid = 'pg_trigger'::regclass AND remark.objoid = t.oid
WHERE NOT t.tgisinternal OR t.tgparentid <> 0 AND t.tgconstraint = 0
