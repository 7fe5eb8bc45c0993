-- where pg_operator.oid
SELECT 'operator' AS kind,
       space.name || '.' || o.oprname || '(' || coalesce(format_type(NULLIF(o.oprleft, 0), NULL), 'NONE')
       || ', ' || coalesce(format_type(NULLIF(o.oprright, 0), NULL), 'NONE') || ')' AS object,
       pg_get_userbyid(o.oprowner) AS owner, remark.description AS comment,
       concat_ws(E'\n',
           'FUNCTION = ' || o.oprcode::regprocedure,
           'COMMUTATOR = ' || NULLIF(o.oprcom, 0)::regoperator,
           'NEGATOR = ' || NULLIF(o.oprnegate, 0)::regoperator,
           'RESTRICT = ' || NULLIF(o.oprrest, 0)::regproc,
           'JOIN = ' || NULLIF(o.oprjoin, 0)::regproc,
           CASE WHEN o.oprcanmerge THEN 'MERGES' END,
           CASE WHEN o.oprcanhash THEN 'HASHES' END
       ) AS definition
FROM pg_operator o
JOIN space ON space.oid = o.oprnamespace
LEFT JOIN remark ON remark.classoid = 'pg_operator'::regclass AND remark.objoid = o.oid
WHERE o.oprcode <> 0 -- without a function, it is only announced as the commutator of another one
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_operator'::regclass AND objid = o.oid)
