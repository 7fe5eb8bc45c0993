-- Follows both files scope.sql and `catalog_row`, the rows of the folder signature: for each relation, its name and a
-- signature of the versions of all catalog rows that its objects are printed from; for 0, the same of all other rows.
-- `ids` changes if an object gets another id: new ids are higher than those before them. A version is known by xmin and
-- ctid, also after ROLLBACK TO SAVEPOINT.
signed AS (
    SELECT relation, sum(hashtext(concat(version, location))) AS versions, concat(count(id), ' ', sum(id)) AS ids
    FROM catalog_row GROUP BY relation
)
SELECT signed.relation::bigint AS relation, signed.versions, signed.ids,
       coalesce(relation.key, 'sequence ' || space.name || '.' || quote_ident(c.relname)) AS name
FROM signed
LEFT JOIN relation ON relation.oid = signed.relation
LEFT JOIN pg_class c ON c.oid = signed.relation AND c.oid >= 16384 AND c.relkind = 'S'
LEFT JOIN space ON space.oid = c.relnamespace
