-- where pg_publication
SELECT 'publication' AS kind, quote_ident(p.pubname) AS object, pg_get_userbyid(p.pubowner) AS owner,
       remark.description AS comment,
       CASE WHEN p.puballtables THEN 'yes' END AS all_tables,
       concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                 CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END
       ) AS operations,
       CASE WHEN p.pubviaroot THEN 'yes' END AS via_root,
       CASE to_jsonb(p) ->> 'pubgencols' WHEN 's' THEN 'stored' END AS generated_columns
FROM pg_publication p
LEFT JOIN remark ON remark.classoid = 'pg_publication'::regclass AND remark.objoid = p.oid
