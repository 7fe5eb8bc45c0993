SELECT sum(hashtextextended(ROW(
    c.conname, c.connamespace, c.contype, c.condeferrable, c.condeferred, c.convalidated,
    c.contypid, c.confrelid, c.confupdtype, c.confdeltype, c.confmatchtype, c.conislocal, c.coninhcount,
    c.connoinherit, c.conkey, c.confkey, c.conexclop,
    c.confdelsetcols, -- since 15
    c.conenforced, -- since 18
    c.conbin
)::text, coalesce(relation.seed, 0) # 7))
FROM pg_constraint c JOIN space ON space.oid = c.connamespace LEFT JOIN relation ON relation.oid = c.conrelid
WHERE c.conrelid = 0 OR relation.oid IS NOT NULL
