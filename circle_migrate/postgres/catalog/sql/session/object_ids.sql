-- Follows scope.sql: the ids of objects, by the names that the other queries return. Rare kinds are omitted.
SELECT relation.kind, relation.identity AS object, 'pg_class'::regclass::oid::bigint AS catalogue,
       relation.oid::bigint AS oid, 0 AS part
FROM relation
UNION ALL
SELECT 'column', relation.identity || '.' || quote_ident(a.attname), 'pg_class'::regclass::oid::bigint,
       a.attrelid::bigint, a.attnum::int
FROM relation JOIN pg_attribute a ON a.attrelid = relation.oid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint', relation.identity || '.' || quote_ident(c.conname),
       'pg_constraint'::regclass::oid::bigint, c.oid::bigint, 0
FROM pg_constraint c JOIN relation ON relation.oid = c.conrelid
WHERE c.contype IN ('p', 'u', 'c', 'f', 'x')
UNION ALL
SELECT 'domain constraint', space.name || '.' || quote_ident(t.typname) || '.' || quote_ident(c.conname),
       'pg_constraint'::regclass::oid::bigint, c.oid::bigint, 0
FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid JOIN space ON space.oid = t.typnamespace
WHERE c.contype = 'c'
UNION ALL
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'index' END, space.name || '.' || quote_ident(c.relname),
       'pg_class'::regclass::oid::bigint, c.oid::bigint, 0
FROM pg_class c JOIN space ON space.oid = c.relnamespace
WHERE c.relkind IN ('S', 'i', 'I')
UNION ALL
SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'c' THEN 'composite type'
                      ELSE 'range type' END, space.name || '.' || quote_ident(t.typname),
       'pg_type'::regclass::oid::bigint, t.oid::bigint, 0
FROM pg_type t JOIN space ON space.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'w' THEN 'window function' WHEN 'a' THEN 'aggregate'
                      ELSE 'function' END,
       space.name || '.' || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')',
       'pg_proc'::regclass::oid::bigint, p.oid::bigint, 0
FROM pg_proc p JOIN space ON space.oid = p.pronamespace
UNION ALL
SELECT 'trigger', relation.identity || '.' || quote_ident(t.tgname), 'pg_trigger'::regclass::oid::bigint,
       t.oid::bigint, 0
FROM pg_trigger t JOIN relation ON relation.oid = t.tgrelid
UNION ALL
SELECT 'policy', relation.identity || '.' || quote_ident(p.polname), 'pg_policy'::regclass::oid::bigint,
       p.oid::bigint, 0
FROM pg_policy p JOIN relation ON relation.oid = p.polrelid
UNION ALL
SELECT 'rule', relation.identity || '.' || quote_ident(r.rulename), 'pg_rewrite'::regclass::oid::bigint,
       r.oid::bigint, 0
FROM pg_rewrite r JOIN relation ON relation.oid = r.ev_class
UNION ALL
SELECT 'statistics', space.name || '.' || quote_ident(s.stxname),
       'pg_statistic_ext'::regclass::oid::bigint, s.oid::bigint, 0
FROM pg_statistic_ext s JOIN space ON space.oid = s.stxnamespace
UNION ALL
SELECT 'schema', space.name, 'pg_namespace'::regclass::oid::bigint, space.oid::bigint, 0 FROM space
