-- Without what VACUUM, ANALYZE, TRUNCATE and CLUSTER keep in the same row.
SELECT sum(hashtextextended(ROW(
    relation.name, c.relkind, c.relowner, c.relam, c.reltablespace, c.relpersistence, c.relchecks,
    c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, c.relreplident, c.relispartition,
    c.reloftype, c.relacl, c.reloptions, c.relpartbound
)::text, 0))
FROM relation JOIN pg_class c ON c.oid = relation.oid
