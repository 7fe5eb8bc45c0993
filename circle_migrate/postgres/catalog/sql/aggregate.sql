-- where pg_aggregate.aggfnoid
SELECT 'aggregate' AS kind,
       space.name || '.' || quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')' AS object,
       'CREATE AGGREGATE ' || space.name || '.' || quote_ident(p.proname) || '('
       || coalesce(NULLIF(pg_get_function_arguments(p.oid), ''), '*') || E') (\n    ' || concat_ws(E',\n    ',
           'SFUNC = ' || a.aggtransfn,
           'STYPE = ' || format_type(a.aggtranstype, NULL),
           CASE WHEN a.aggtransspace <> 0 THEN 'SSPACE = ' || a.aggtransspace END,
           'FINALFUNC = ' || NULLIF(a.aggfinalfn, 0)::regproc,
           CASE WHEN a.aggfinalextra THEN 'FINALFUNC_EXTRA' END,
           CASE WHEN a.aggfinalfn <> 0 AND a.aggfinalmodify <> CASE a.aggkind WHEN 'n' THEN 'r'::"char" ELSE 'w' END
                THEN 'FINALFUNC_MODIFY = ' || CASE a.aggfinalmodify WHEN 'r' THEN 'READ_ONLY'
                     WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END END,
           'COMBINEFUNC = ' || NULLIF(a.aggcombinefn, 0)::regproc,
           'SERIALFUNC = ' || NULLIF(a.aggserialfn, 0)::regproc,
           'DESERIALFUNC = ' || NULLIF(a.aggdeserialfn, 0)::regproc,
           'INITCOND = ' || quote_literal(a.agginitval),
           'MSFUNC = ' || NULLIF(a.aggmtransfn, 0)::regproc,
           'MINVFUNC = ' || NULLIF(a.aggminvtransfn, 0)::regproc,
           CASE WHEN a.aggmtranstype <> 0 THEN 'MSTYPE = ' || format_type(a.aggmtranstype, NULL) END,
           CASE WHEN a.aggmtransspace <> 0 THEN 'MSSPACE = ' || a.aggmtransspace END,
           'MFINALFUNC = ' || NULLIF(a.aggmfinalfn, 0)::regproc,
           CASE WHEN a.aggmfinalextra THEN 'MFINALFUNC_EXTRA' END,
           CASE WHEN a.aggmfinalfn <> 0
                 AND a.aggmfinalmodify <> CASE a.aggkind WHEN 'n' THEN 'r'::"char" ELSE 'w' END
                THEN 'MFINALFUNC_MODIFY = ' || CASE a.aggmfinalmodify WHEN 'r' THEN 'READ_ONLY'
                     WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END END,
           'MINITCOND = ' || quote_literal(a.aggminitval),
           'SORTOP = OPERATOR(' || NULLIF(a.aggsortop, 0)::regoper || ')',
           CASE p.proparallel WHEN 's' THEN 'PARALLEL = SAFE' WHEN 'r' THEN 'PARALLEL = RESTRICTED' END,
           CASE a.aggkind WHEN 'h' THEN 'HYPOTHETICAL' END
       ) || E'\n)' AS definition
FROM pg_aggregate a
JOIN pg_proc p ON p.oid = a.aggfnoid
JOIN space ON space.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
