-- Owner and comment are omitted: they depend on the installing role and the extension.
SELECT 'extension' AS kind, quote_ident(e.extname) AS object, e.extversion AS version,
       quote_ident(n.nspname) AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
