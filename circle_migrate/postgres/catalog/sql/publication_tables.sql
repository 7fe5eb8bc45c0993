-- before 15
-- where pg_publication
SELECT 'publication' AS kind, quote_ident(p.pubname) AS object,
       string_agg(relation.identity, E'\n' ORDER BY relation.identity) AS tables
FROM pg_publication p
JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN relation ON relation.oid = r.prrelid
GROUP BY p.pubname
