-- where pg_attrdef
SELECT sum(hashtextextended(d.adbin::text, relation.seed # d.adnum))
FROM pg_attrdef d JOIN relation ON relation.oid = d.adrelid
