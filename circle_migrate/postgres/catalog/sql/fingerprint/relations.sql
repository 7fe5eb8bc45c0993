SELECT sum(relation.hash) FROM relation
