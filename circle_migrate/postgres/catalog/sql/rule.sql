-- where pg_rewrite.oid
SELECT 'rule' AS kind, relation.identity || '.' || quote_ident(r.rulename) AS object, relation.key AS of,
       remark.description AS comment, pg_get_ruledef(r.oid) AS definition,
       CASE r.ev_enabled WHEN 'O' THEN 'origin' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica'
                         ELSE 'always' END AS enabled
FROM pg_rewrite r
JOIN relation ON relation.oid = r.ev_class
LEFT JOIN remark ON remark.classoid = 'pg_rewrite'::regclass AND remark.objoid = r.oid
WHERE r.rulename <> '_RETURN'
