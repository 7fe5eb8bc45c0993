-- since 15
-- where pg_publication
SELECT 'publication' AS kind, quote_ident(p.pubname) AS object,
       (SELECT string_agg(
                   relation.identity
                   || coalesce(' (' || (
                       SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                       WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)
                   ) || ')', '')
                   || coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', ''),
                   E'\n' ORDER BY relation.identity)
        FROM pg_publication_rel r JOIN relation ON relation.oid = r.prrelid
        WHERE r.prpubid = p.oid) AS tables,
       (SELECT string_agg(space.name, E'\n' ORDER BY space.name)
        FROM pg_publication_namespace n JOIN space ON space.oid = n.pnnspid
        WHERE n.pnpubid = p.oid) AS schemas
FROM pg_publication p
