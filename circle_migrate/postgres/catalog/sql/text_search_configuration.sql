-- where pg_ts_config.oid
SELECT 'text search configuration' AS kind, space.name || '.' || quote_ident(c.cfgname) AS object,
       pg_get_userbyid(c.cfgowner) AS owner, remark.description AS comment,
       concat_ws(E'\n',
           'PARSER ' || quote_ident(n.nspname) || '.' || quote_ident(p.prsname),
           (SELECT string_agg(alias || ': ' || dictionaries, E'\n' ORDER BY alias) FROM (
                SELECT token.alias,
                       string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno) AS dictionaries
                FROM pg_ts_config_map m JOIN ts_token_type(c.cfgparser) token ON token.tokid = m.maptokentype
                WHERE m.mapcfg = c.oid GROUP BY token.alias
            ) mapping)
       ) AS definition
FROM pg_ts_config c
JOIN space ON space.oid = c.cfgnamespace
JOIN pg_ts_parser p ON p.oid = c.cfgparser
JOIN pg_namespace n ON n.oid = p.prsnamespace
LEFT JOIN remark ON remark.classoid = 'pg_ts_config'::regclass AND remark.objoid = c.oid
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_ts_config'::regclass AND objid = c.oid)
