SELECT sum(hashtextextended(ROW(relation.name, d.adnum, d.adbin)::text, 4))
FROM pg_attrdef d JOIN relation ON relation.oid = d.adrelid
