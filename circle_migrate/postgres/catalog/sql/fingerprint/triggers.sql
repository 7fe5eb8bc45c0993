-- where pg_trigger
-- Triggers of a foreign key depend on it, unless they are disabled.
SELECT sum(hashtextextended(ROW(
    CASE WHEN NOT t.tgisinternal THEN t.tgname END, t.tgfoid, t.tgtype, t.tgenabled,
    t.tgdeferrable, t.tginitdeferred, t.tgattr, t.tgargs, t.tgqual, t.tgoldtable, t.tgnewtable,
    t.tgconstrrelid
)::text, relation.seed # 9))
FROM pg_trigger t JOIN relation ON relation.oid = t.tgrelid
WHERE NOT t.tgisinternal OR t.tgenabled <> 'O'
