-- where pg_cast.oid
SELECT 'cast' AS kind,
       format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL) AS object,
       remark.description AS comment,
       CASE c.castmethod WHEN 'f' THEN 'WITH FUNCTION ' || NULLIF(c.castfunc, 0)::regprocedure
                         WHEN 'i' THEN 'WITH INOUT' ELSE 'WITHOUT FUNCTION' END
       || CASE c.castcontext WHEN 'i' THEN ' AS IMPLICIT' WHEN 'a' THEN ' AS ASSIGNMENT' ELSE '' END
       AS definition
FROM pg_cast c
LEFT JOIN remark ON remark.classoid = 'pg_cast'::regclass AND remark.objoid = c.oid
WHERE c.oid >= 16384
  AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_cast'::regclass AND objid = c.oid)
  -- Casts between a range type and its multirange belong to the type.
  AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'i'
  )
