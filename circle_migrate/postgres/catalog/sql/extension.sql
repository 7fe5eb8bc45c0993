-- Owner and comment are left out: they are the installing role's and the extension's own.
SELECT 'extension' AS kind, quote_ident(e.extname) AS object, e.extversion AS version,
       quote_ident(n.nspname) AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
