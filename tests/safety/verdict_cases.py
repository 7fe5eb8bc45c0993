"""Statements whose effect on rows and on the running release was measured, all on one small schema."""

from __future__ import annotations

from tests.safety.safety_cases import SafetyCase, statements

ROWS = 300
"""The rows of the large tables."""

_SCHEMA = f"""
CREATE TABLE users (id bigint PRIMARY KEY, email text, age int);
INSERT INTO users SELECT g, 'u' || g, g % 90 FROM generate_series(1, {ROWS}) g;
CREATE TABLE visits (id bigint PRIMARY KEY, user_id bigint REFERENCES users, at date NOT NULL, pages int);
INSERT INTO visits SELECT g, g, date '2026-01-01' + g % 300, g FROM generate_series(1, {ROWS}) g;
CREATE TABLE days (at date NOT NULL, user_id bigint REFERENCES users) PARTITION BY RANGE (at);
CREATE TABLE old_days (at date NOT NULL, user_id bigint, CHECK (at >= '2026-01-01' AND at < '2027-01-01'));
INSERT INTO old_days SELECT date '2026-01-01' + g % 300, g FROM generate_series(1, {ROWS}) g;
CREATE FUNCTION wipe() RETURNS void LANGUAGE sql AS 'DELETE FROM visits';
CREATE TABLE empty (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
"""


def _cases(expect: str, cases: dict[str, str | tuple[str, str]], since: int = 0) -> list[SafetyCase]:
    """Return cases from the SQL of a migration, or from more setup and that; `/` separates transactions."""
    made = []
    for name, given in cases.items():
        setup, migration = ("", given) if isinstance(given, str) else given
        groups = (["BEGIN", *statements(text), "COMMIT"] for text in migration.split(" / "))
        migrated = tuple(statement for group in groups for statement in group)
        setup_sql = tuple(statements(f"{_SCHEMA};{setup};ANALYZE"))
        made.append(SafetyCase(name, setup_sql, migrated, expect, since))
    return made


# ruff: noqa: E501
INSERTS = [
    *_cases(
        "danger",
        {
            "default-of-a-new-column-dropped": "ALTER TABLE users ADD f int NOT NULL DEFAULT 0; ALTER TABLE users ALTER f DROP DEFAULT",
            "default-dropped-later": "ALTER TABLE users ADD f int NOT NULL DEFAULT 0 / ALTER TABLE users ALTER f DROP DEFAULT",
            "default-of-an-old-column-dropped": (
                "ALTER TABLE users ADD f int NOT NULL DEFAULT 0",
                "ALTER TABLE users ALTER f DROP DEFAULT",
            ),
            "identity-dropped": "ALTER TABLE empty ALTER id DROP IDENTITY",
            "serial-default-dropped": (
                "CREATE TABLE t (id bigserial PRIMARY KEY)",
                "ALTER TABLE t ALTER id DROP DEFAULT",
            ),
            "identity-of-a-column-that-inserts-list": "ALTER TABLE visits ALTER id ADD GENERATED ALWAYS AS IDENTITY (START WITH 5000)",
            "required-column-of-an-empty-table": "ALTER TABLE empty ADD f int NOT NULL",
            "required-after-a-backfill": "ALTER TABLE empty ADD f int / UPDATE empty SET f = 1 / ALTER TABLE empty ALTER f SET NOT NULL",
        },
    ),
    *_cases(
        "warn",
        {
            "default-restored-by-the-next-revision": "ALTER TABLE users ADD f int NOT NULL DEFAULT 0; ALTER TABLE users ALTER f DROP DEFAULT / ALTER TABLE users ALTER f SET DEFAULT 0",
            "required-column-that-a-trigger-fills": (
                """CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.f := 1; RETURN NEW; END';
                CREATE TRIGGER fill BEFORE INSERT ON empty FOR EACH ROW EXECUTE FUNCTION fill()""",
                "ALTER TABLE empty ADD f int NOT NULL",
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "required-column-with-default": "ALTER TABLE users ADD f int NOT NULL DEFAULT 0",
            "default-of-a-nullable-column-dropped": (
                "ALTER TABLE users ADD f int DEFAULT 0",
                "ALTER TABLE users ALTER f DROP DEFAULT",
            ),
            "serial-default-that-no-row-has-used-dropped": (
                "CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t VALUES (1)",
                "ALTER TABLE t ALTER id DROP DEFAULT",
            ),
            "default-replaced-by-identity": (
                "CREATE TABLE t (id bigserial PRIMARY KEY)",
                "ALTER TABLE t ALTER id DROP DEFAULT; ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY",
            ),
        },
    ),
]
LOST_NAMES = [
    *_cases(
        "danger",
        {
            "view-dropped": ("CREATE VIEW adults AS SELECT id FROM users", "DROP VIEW adults"),
            "view-without-a-column": (
                "CREATE VIEW adults AS SELECT id, email FROM users",
                "DROP VIEW adults; CREATE VIEW adults AS SELECT id FROM users",
            ),
            "function-dropped": "DROP FUNCTION wipe()",
            "type-dropped": ("CREATE TYPE mood AS ENUM ('ok')", "DROP TYPE mood"),
            "domain-dropped": ("CREATE DOMAIN percent AS int", "DROP DOMAIN percent"),
            "operator-dropped": (
                "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
                "DROP OPERATOR === (int, int)",
            ),
            "collation-dropped": ('CREATE COLLATION plain FROM "C"', "DROP COLLATION plain"),
            "text-search-configuration-dropped": (
                "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)",
                "DROP TEXT SEARCH CONFIGURATION words",
            ),
            "column-without-values-dropped": "ALTER TABLE empty DROP note",
            "table-without-rows-dropped": "DROP TABLE empty",
        },
    ),
    *_cases(
        "warn",
        {
            "trigger-dropped": (
                """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep()""",
                "DROP TRIGGER keep ON users",
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "view-made-anew": (
                "CREATE VIEW adults AS SELECT id FROM users",
                "DROP VIEW adults; CREATE VIEW adults AS SELECT id, email FROM users",
            ),
            "new-view-dropped": "CREATE VIEW adults AS SELECT id FROM users; DROP VIEW adults",
        },
    ),
]
DELETES = [
    *_cases(
        "danger",
        {
            "merge-that-deletes": "MERGE INTO visits USING users ON visits.user_id = users.id WHEN MATCHED THEN DELETE",
            "merge-that-deletes-and-updates": "MERGE INTO visits v USING users u ON v.user_id = u.id WHEN MATCHED AND age > 3 THEN DELETE WHEN MATCHED THEN UPDATE SET pages = 1",
            "function-that-deletes": "SELECT wipe()",
            "function-that-calls-another": (
                "CREATE FUNCTION wipe2() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM wipe(); END'",
                "SELECT wipe2()",
            ),
            "procedure-that-deletes": (
                "CREATE PROCEDURE clear() LANGUAGE plpgsql AS 'BEGIN DELETE FROM visits; END'",
                "CALL clear()",
            ),
            "function-called-for-each-row": (
                "CREATE FUNCTION one(bigint) RETURNS void LANGUAGE sql AS 'DELETE FROM visits WHERE id = $1'",
                "SELECT one(id) FROM users",
            ),
            "delete-under-if": "DO $$ BEGIN IF EXISTS (SELECT FROM visits) THEN DELETE FROM visits; END IF; END $$",
            "truncate-under-if": "DO $$ BEGIN IF EXISTS (SELECT FROM visits) THEN TRUNCATE TABLE visits; END IF; END $$",
            "truncate-in-a-function": (
                "CREATE FUNCTION clear() RETURNS void LANGUAGE sql AS 'TRUNCATE visits'",
                "SELECT clear()",
            ),
            "delete-in-a-loop": "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM users LOOP DELETE FROM visits WHERE user_id = r.id; END LOOP; END $$",
            "delete-in-batches": "DO $$ BEGIN LOOP DELETE FROM visits WHERE id IN (SELECT id FROM visits LIMIT 10); EXIT WHEN NOT FOUND; END LOOP; END $$",
            "delete-in-a-computed-text": "DO $$ BEGIN EXECUTE format('DELETE FROM %I', 'visits'); END $$",
            "delete-in-with": "WITH gone AS (DELETE FROM visits RETURNING id) SELECT count(*) FROM gone",
            "delete-in-with-after-a-comment": "/* all */ WITH gone AS (DELETE FROM visits WHERE pages > 3 RETURNING id) SELECT count(*) FROM gone",
            "merge-with-a-named-query": "WITH u AS (SELECT id FROM users) MERGE INTO visits USING u ON visits.user_id = u.id WHEN MATCHED THEN DELETE",
            "most-rows-deleted": "DELETE FROM visits WHERE pages > 100",
        },
    ),
    *_cases(
        "warn",
        {
            "a-few-rows-deleted-in-do": "DO $$ BEGIN DELETE FROM visits WHERE pages = 5; END $$",
            "no-row-deleted": "DELETE FROM visits WHERE id < 0",
            "batch-deleted-that-a-loop-may-repeat": "DELETE FROM visits WHERE id IN (SELECT id FROM visits LIMIT 10)",
            "merge-that-updates": "MERGE INTO visits USING users ON visits.user_id = users.id WHEN MATCHED THEN UPDATE SET pages = 1",
        },
    ),
    *_cases(
        "safe",
        {
            "empty-table-deleted-from": "DELETE FROM empty",
            "merge-of-a-list-of-values": "MERGE INTO visits USING (VALUES (1::bigint)) v (i) ON visits.id = v.i WHEN MATCHED THEN DELETE",
            "row-deleted-in-a-function": (
                "CREATE FUNCTION one(bigint) RETURNS void LANGUAGE sql AS 'DELETE FROM visits WHERE id = $1'",
                "SELECT * FROM one(5)",
            ),
            "row-deleted-after-a-loop": "DO $$ BEGIN FOR i IN 1..2 LOOP PERFORM 1; END LOOP; DELETE FROM visits WHERE id = 1; END $$",
            "row-updated-in-a-function": (
                "CREATE FUNCTION one() RETURNS void LANGUAGE sql AS 'UPDATE visits SET pages = 1 WHERE id = 5'",
                "SELECT one()",
            ),
            "row-inserted-after-a-delete": "DO $$ BEGIN DELETE FROM visits WHERE id = 1; INSERT INTO users VALUES (-1); END $$",
        },
    ),
]
_ATTACH = "ALTER TABLE days ATTACH PARTITION old_days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
ATTACHED = [
    *_cases(
        "danger",
        {
            "attached-with-a-foreign-key-of-the-parent": _ATTACH,
            "attached-with-a-foreign-key-that-is-not-valid": (
                "ALTER TABLE old_days ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID",
                _ATTACH,
            ),
            "attached-below-another-partition": (
                "CREATE TABLE mid (LIKE days) PARTITION BY RANGE (at);" + _ATTACH.replace("days A", "mid A"),
                _ATTACH.replace("old_days", "mid"),
            ),
            "foreign-key-added-to-the-parent": (
                f"ALTER TABLE days DROP CONSTRAINT days_user_id_fkey; {_ATTACH}",
                "ALTER TABLE days ADD FOREIGN KEY (user_id) REFERENCES users",
            ),
            "attached-with-an-index-of-the-parent": (
                "ALTER TABLE days DROP CONSTRAINT days_user_id_fkey; CREATE INDEX ON days (user_id)",
                _ATTACH,
            ),
        },
    ),
    *_cases(
        "warn",  # for the ACCESS EXCLUSIVE lock on two large tables
        {
            "attached-with-its-own-foreign-key": (
                "ALTER TABLE old_days ADD FOREIGN KEY (user_id) REFERENCES users",
                _ATTACH,
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "attached-with-a-proof": ("ALTER TABLE days DROP CONSTRAINT days_user_id_fkey", _ATTACH),
            "small-table-attached": (
                "CREATE TABLE few (LIKE old_days INCLUDING ALL)",
                _ATTACH.replace("old_days", "few"),
            ),
        },
    ),
]
_NEW_COLUMN = "ALTER TABLE users ADD note text; ALTER TABLE users ADD CONSTRAINT given CHECK ({}) NOT VALID"
RULES = [
    *_cases(
        "danger",
        {
            "check-that-rows-break": "ALTER TABLE users ADD CONSTRAINT old CHECK (age > 1000) NOT VALID",
            "check-on-a-new-column": _NEW_COLUMN.format("note IS NOT NULL"),
            "check-that-the-default-breaks": _NEW_COLUMN.format("note <> ''").replace(
                "text;", "text DEFAULT '';"
            ),
            "valid-check-on-a-filled-column": "ALTER TABLE empty ADD f int / UPDATE empty SET f = 1 / ALTER TABLE empty ADD CHECK (f IS NOT NULL)",
            "check-on-a-new-and-an-old-column": _NEW_COLUMN.format("note IS NOT NULL OR age > 1000"),
            "foreign-key-that-rows-break": (
                "CREATE TABLE t (user_id bigint); INSERT INTO t VALUES (-1)",
                "ALTER TABLE t ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID",
            ),
            "rows-found-by-reading-the-table-under-its-lock": "ALTER TABLE users ADD note text; UPDATE users SET age = 1 WHERE email = 'u7'",
            "check-whose-rows-are-corrected-later": "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID / UPDATE users SET age = 1 WHERE id = 90",
        },
    ),
    *_cases(
        "safe",
        {
            "check-that-rows-meet": "ALTER TABLE users ADD CONSTRAINT young CHECK (age < 1000) NOT VALID",
            "check-that-accepts-null": _NEW_COLUMN.format("note <> ''"),
            "check-that-accepts-the-default": _NEW_COLUMN.format("note IS NOT NULL").replace(
                "text;", "text DEFAULT '';"
            ),
            "check-of-either-column": _NEW_COLUMN.format("note IS NOT NULL OR age < 1000"),
            "foreign-key-that-rows-meet": (
                "CREATE TABLE t (user_id bigint); INSERT INTO t VALUES (1)",
                "ALTER TABLE t ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID",
            ),
            "rows-found-by-reading-the-table-in-the-next-transaction": "ALTER TABLE users ADD note text / UPDATE users SET age = 1 WHERE email = 'u7'",
            "check-whose-rows-are-corrected-before": "UPDATE users SET age = 1 WHERE age = 0 / ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID",
            "check-whose-rows-are-corrected-under-its-lock": "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID; UPDATE users SET age = 1 WHERE id IN (90, 180, 270)",
        },
    ),
    *_cases(
        "danger",
        {
            "not-null-that-rows-break": (
                "ALTER TABLE users ADD note text",
                "ALTER TABLE users ADD CONSTRAINT given NOT NULL note NOT VALID",
            ),
            "not-null-on-a-new-column": "ALTER TABLE users ADD note text; ALTER TABLE users ADD CONSTRAINT given NOT NULL note NOT VALID",
        },
        since=18,
    ),
    *_cases(
        "safe",
        {"not-null-that-rows-meet": "ALTER TABLE users ADD CONSTRAINT given NOT NULL age NOT VALID"},
        since=18,
    ),
]
_FUNCTION = "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"
_ENUM = "CREATE TYPE mood AS ENUM ('ok', 'bad')"
REPLACED_NAMES = [
    *_cases(
        "danger",
        {
            "table-renamed-and-made-anew": "ALTER TABLE visits RENAME TO old_visits; CREATE TABLE visits (LIKE old_visits INCLUDING ALL)",
            "table-moved-and-made-anew": "CREATE SCHEMA attic; ALTER TABLE visits SET SCHEMA attic; CREATE TABLE visits (LIKE attic.visits)",
            "table-renamed-and-made-anew-in-do": "DO $$ BEGIN ALTER TABLE visits RENAME TO old_visits; CREATE TABLE visits (LIKE old_visits INCLUDING ALL); END $$",
            "view-of-some-rows": "ALTER TABLE visits RENAME TO old_visits; CREATE VIEW visits AS SELECT * FROM old_visits WHERE pages > 5",
            "view-with-an-expression": "ALTER TABLE empty RENAME TO old_empty; CREATE VIEW empty AS SELECT id, upper(note) AS note FROM old_empty",
            "function-with-a-required-argument": (
                _FUNCTION.replace("(int)", "(int, int DEFAULT 1)"),
                f"DROP FUNCTION f(int, int); {_FUNCTION.replace('(int)', '(int, int)')}",
            ),
            "view-of-another-table": "ALTER TABLE visits RENAME TO old_visits; CREATE VIEW visits AS SELECT id, id AS user_id, now()::date AS at, 1 AS pages FROM users",
            "view-renamed-and-made-anew": (
                "CREATE VIEW adults AS SELECT id FROM users",
                "ALTER VIEW adults RENAME TO grown; CREATE VIEW adults AS SELECT id FROM visits",
            ),
            "column-renamed-and-made-anew": "ALTER TABLE users RENAME email TO mail; ALTER TABLE users ADD email text",
            "schema-renamed-and-made-anew": (
                "CREATE SCHEMA app; CREATE TABLE app.t (id int)",
                "ALTER SCHEMA app RENAME TO old_app; CREATE SCHEMA app",
            ),
            "sequence-made-anew": ("CREATE SEQUENCE s", "DROP SEQUENCE s; CREATE SEQUENCE s"),
            "sequence-renamed-and-made-anew": (
                "CREATE SEQUENCE s",
                "ALTER SEQUENCE s RENAME TO old_s; CREATE SEQUENCE s",
            ),
            "function-with-other-arguments": (
                _FUNCTION,
                f"DROP FUNCTION f(int); {_FUNCTION.replace('(int)', '(text)')}",
            ),
            "function-with-fewer-arguments": (
                _FUNCTION,
                f"DROP FUNCTION f(int); {_FUNCTION.replace('(int)', '()')}",
            ),
            "function-with-one-more-argument": (
                _FUNCTION,
                f"DROP FUNCTION f(int); {_FUNCTION.replace('(int)', '(int, int)')}",
            ),
            "function-with-another-result": (
                _FUNCTION,
                f"DROP FUNCTION f(int); {_FUNCTION.replace('RETURNS int', 'RETURNS bigint')}",
            ),
            "function-replaced-by-a-procedure": (
                _FUNCTION,
                "DROP FUNCTION f(int); CREATE PROCEDURE f(int) LANGUAGE sql AS 'SELECT 1'",
            ),
            "function-renamed-and-made-anew": (
                _FUNCTION,
                f"ALTER FUNCTION f(int) RENAME TO old_f; {_FUNCTION.replace('(int)', '(text)')}",
            ),
            "type-made-anew-with-fewer-labels": (
                _ENUM,
                "DROP TYPE mood; CREATE TYPE mood AS ENUM ('ok')",
            ),
            "type-renamed-that-a-column-uses": (
                f"{_ENUM}; CREATE TABLE t (m mood)",
                f"ALTER TYPE mood RENAME TO old_mood; {_ENUM}",
            ),
            "renamed-table-copied-under-its-lock": "ALTER TABLE visits RENAME TO old; CREATE TABLE copied (LIKE old); INSERT INTO copied SELECT * FROM old; ALTER TABLE old RENAME TO visits",
        },
    ),
    *_cases(
        "warn",
        {
            "column-filled-and-renamed": "ALTER TABLE users ADD mail text / UPDATE users SET mail = email WHERE id > 0 / ALTER TABLE users RENAME email TO old_email; ALTER TABLE users RENAME mail TO email",
        },
    ),
    *_cases(
        "safe",
        {
            "table-filled-and-renamed": "CREATE TABLE fresh (LIKE visits INCLUDING ALL) / INSERT INTO fresh SELECT * FROM visits / ALTER TABLE visits RENAME TO old_visits; ALTER TABLE fresh RENAME TO visits",
            "table-that-becomes-a-partition": (
                "CREATE TABLE t (id int, at date NOT NULL)",
                "ALTER TABLE t RENAME TO old_t; CREATE TABLE t (LIKE old_t) PARTITION BY RANGE (at); ALTER TABLE t ATTACH PARTITION old_t FOR VALUES FROM ('2000-01-01') TO ('2030-01-01')",
            ),
            "view-of-the-renamed-table": "ALTER TABLE visits RENAME TO old_visits; CREATE VIEW visits AS SELECT * FROM old_visits",
            "table-renamed-and-back": "ALTER TABLE users RENAME TO people; ALTER TABLE people RENAME TO users",
            "function-made-anew": (_FUNCTION, f"DROP FUNCTION f(int); {_FUNCTION.replace('1', '2')}"),
            "function-with-an-optional-argument": (
                _FUNCTION,
                f"DROP FUNCTION f(int); {_FUNCTION.replace('(int)', '(int, more int DEFAULT 1)')}",
            ),
            "function-behind-another": (_FUNCTION, f"ALTER FUNCTION f(int) RENAME TO old_f; {_FUNCTION}"),
            "type-made-anew-with-more-labels": (
                _ENUM,
                "DROP TYPE mood; CREATE TYPE mood AS ENUM ('ok', 'bad', 'new')",
            ),
        },
    ),
]

_DENY = """CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE text text; -- none
    BEGIN
        -- nobody writes here
        RAISE EXCEPTION 'read only';
    END $$"""
_SKIP = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
_PASS = "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
_TRIGGER = "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION {}()"
_GRANT = "GRANT SELECT, INSERT ON users TO pg_monitor"
_SECURE = "ALTER TABLE users ENABLE ROW LEVEL SECURITY"
_SECURED = f"{_GRANT}; {_SECURE}; CREATE POLICY p ON users USING (true)"
REFUSED = [
    *_cases(
        "danger",
        {
            "trigger-that-raises": f"{_DENY}; {_TRIGGER.format('deny')}",
            "trigger-that-raises-for-each-statement": f"{_DENY}; CREATE TRIGGER t AFTER UPDATE ON users EXECUTE FUNCTION deny()",
            "trigger-that-skips-rows": f"{_SKIP}; {_TRIGGER.format('skip')}",
            "trigger-enabled-that-raises": (
                f"{_DENY}; {_TRIGGER.format('deny')}; ALTER TABLE users DISABLE TRIGGER t",
                "ALTER TABLE users ENABLE TRIGGER t",
            ),
            "function-of-a-trigger-replaced": (
                f"{_PASS}; {_TRIGGER.format('pass')}",
                _DENY.replace("CREATE", "CREATE OR REPLACE").replace("deny", "pass"),
            ),
            "rule-that-discards": "CREATE RULE r AS ON INSERT TO users DO INSTEAD NOTHING",
            "row-security-without-a-policy": (_GRANT, _SECURE),
            "row-security-with-a-policy-for-reads": (
                _GRANT,
                f"{_SECURE}; CREATE POLICY p ON users FOR SELECT USING (true)",
            ),
            "row-security-with-a-policy-for-another-role": (
                _GRANT,
                f"{_SECURE}; CREATE POLICY p ON users TO pg_read_all_stats USING (true)",
            ),
            "policy-that-refuses-all-rows": (
                _SECURED,
                "CREATE POLICY n ON users AS RESTRICTIVE FOR INSERT WITH CHECK (false)",
            ),
            "only-policy-dropped": (_SECURED, "DROP POLICY p ON users"),
            "privilege-revoked": (_GRANT, "REVOKE INSERT ON users FROM pg_monitor"),
            "privilege-of-a-column-revoked": (
                "GRANT SELECT (email) ON users TO pg_monitor",
                "REVOKE SELECT (email) ON users FROM pg_monitor",
            ),
            "privilege-revoked-in-all-tables": (
                _GRANT,
                "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM pg_monitor",
            ),
            "privilege-lost-with-a-renamed-table": (
                _GRANT,
                "ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people",
            ),
            "privilege-lost-with-a-view-made-anew": (
                "CREATE VIEW adults AS SELECT id FROM users; GRANT SELECT ON adults TO pg_monitor",
                "DROP VIEW adults; CREATE VIEW adults AS SELECT id FROM users",
            ),
            "privilege-lost-with-a-copied-table": (
                "GRANT INSERT ON empty TO pg_monitor",
                "CREATE TABLE fresh (LIKE empty INCLUDING ALL); INSERT INTO fresh SELECT * FROM empty; DROP TABLE empty; ALTER TABLE fresh RENAME TO empty",
            ),
        },
    ),
    *_cases(
        "warn",
        {
            "row-security-with-a-condition": (_GRANT, f"{_SECURE}; CREATE POLICY p ON users USING (age > 3)"),
            "policy-that-restricts": (
                _SECURED,
                "CREATE POLICY r ON users AS RESTRICTIVE USING (age > 3)",
            ),
            "row-security-for-the-owner-only": _SECURE,
            "privilege-of-everybody-revoked": "REVOKE EXECUTE ON FUNCTION wipe() FROM PUBLIC",
            "privilege-to-refer-revoked": (
                "GRANT REFERENCES ON users TO pg_monitor",
                "REVOKE REFERENCES ON users FROM pg_monitor",
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "trigger-that-changes-rows": f"{_PASS}; {_TRIGGER.format('pass')}",
            "trigger-that-raises-on-a-condition": f"{_DENY.replace('RAISE', 'IF NEW.age > 200 THEN RAISE').replace('only' + chr(39) + ';', 'only' + chr(39) + '; END IF; RETURN NEW;')}; {_TRIGGER.format('deny')}",
            "trigger-with-a-condition": f"{_DENY}; {_TRIGGER.format('deny').replace('EXEC', 'WHEN (NEW.age > 200) EXEC')}",
            "trigger-that-warns": f"{_DENY.replace('EXCEPTION', 'WARNING').replace('END', 'RETURN NEW; END')}; {_TRIGGER.format('deny')}",
            "trigger-that-returns-null-after-the-row": f"{_SKIP}; {_TRIGGER.format('skip').replace('BEFORE', 'AFTER')}",
            "trigger-that-raises-on-a-new-table": f"{_DENY}; CREATE TABLE users2 (id int); {_TRIGGER.format('deny').replace('users', 'users2')}",
            "trigger-that-raises-for-a-moment": f"{_DENY}; {_TRIGGER.format('deny')}; DROP TRIGGER t ON users",
            "rule-that-does-more": "CREATE RULE r AS ON INSERT TO users DO ALSO NOTIFY x",
            "privilege-revoked-and-granted": (
                _GRANT,
                "REVOKE ALL ON users FROM pg_monitor; GRANT SELECT, INSERT ON users TO pg_monitor",
            ),
            "privilege-that-everybody-has-revoked": (
                f"{_GRANT}; GRANT INSERT ON users TO PUBLIC",
                "REVOKE INSERT ON users FROM pg_monitor",
            ),
            "row-security-with-a-policy": (_GRANT, f"{_SECURE}; CREATE POLICY p ON users USING (true)"),
            "policy-dropped-beside-another": (
                f"{_SECURED}; CREATE POLICY q ON users USING (true)",
                "DROP POLICY q ON users",
            ),
            "privilege-that-another-role-gives-revoked": (
                f"{_GRANT}; GRANT INSERT ON users TO pg_read_all_stats",
                "REVOKE INSERT ON users FROM pg_monitor",
            ),
            "privilege-of-the-column-of-a-table-revoked": (
                f"{_GRANT}; GRANT SELECT (email) ON users TO pg_monitor",
                "REVOKE SELECT (email) ON users FROM pg_monitor",
            ),
            "right-to-grant-revoked": (
                f"{_GRANT} WITH GRANT OPTION",
                "REVOKE GRANT OPTION FOR SELECT ON users FROM pg_monitor",
            ),
            "privilege-that-a-role-never-had-revoked": "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM pg_monitor",
            "privilege-granted": "GRANT SELECT ON users TO pg_monitor",
        },
    ),
]
_SLUG = "ALTER TABLE {} ADD slug text NOT NULL DEFAULT ''; CREATE UNIQUE INDEX ON {} (slug)"
_ONE = "CREATE TABLE one (id int, n int); INSERT INTO one VALUES (1, 2)"
_OVERLAP = "ALTER TABLE one ADD EXCLUDE USING gist (int4range(id, n) WITH &&)"
_REFER = "ALTER TABLE one ADD user_id bigint DEFAULT {} REFERENCES users"
NEW_COLUMNS = [
    *_cases(
        "danger",
        {
            "unique-default": _SLUG.format("empty", "empty"),
            "unique-default-of-one-row": (_ONE, _SLUG.format("one", "one")),
            "unique-default-of-more-rows": _SLUG.format("old_days", "old_days"),
            "unique-constraint-with-a-new-column": (
                f"{_ONE}; INSERT INTO one VALUES (1, 3)",
                "ALTER TABLE one ADD t int NOT NULL DEFAULT 1; ALTER TABLE one ADD UNIQUE (t, id)",
            ),
            "default-that-excludes-itself": "ALTER TABLE empty ADD r int4range DEFAULT '[1,2)'; ALTER TABLE empty ADD EXCLUDE USING gist (r WITH &&)",
            "rows-that-exclude-each-other": (f"{_ONE}; INSERT INTO one VALUES (0, 4)", _OVERLAP),
            "default-without-a-referenced-row": (_ONE, _REFER.format(-1)),
            "default-without-a-referenced-row-in-an-empty-table": _REFER.format(-1).replace("one", "empty"),
            "default-without-a-referenced-row-not-valid": (
                _ONE,
                "ALTER TABLE one ADD user_id bigint DEFAULT -1; ALTER TABLE one ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID",
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "unique-default-outside-of-the-condition": "ALTER TABLE empty ADD chief boolean NOT NULL DEFAULT false; CREATE UNIQUE INDEX ON empty (chief) WHERE chief",
            "unique-column-of-nulls": (_ONE, _SLUG.format("one", "one").replace("NOT NULL DEFAULT ''", "")),
            "unique-computed-default": (
                _ONE,
                _SLUG.format("one", "one").replace(
                    "text NOT NULL DEFAULT ''", "uuid DEFAULT gen_random_uuid()"
                ),
            ),
            "unique-identity": "ALTER TABLE empty ADD n int GENERATED ALWAYS AS IDENTITY UNIQUE",
            "unique-with-a-new-column": (
                f"{_ONE}; INSERT INTO one VALUES (2, 3)",
                "ALTER TABLE one ADD t int NOT NULL DEFAULT 1; ALTER TABLE one ADD UNIQUE (t, id)",
            ),
            "rows-that-do-not-exclude-each-other": (f"{_ONE}; INSERT INTO one VALUES (3, 4)", _OVERLAP),
            "default-with-a-referenced-row": (_ONE, _REFER.format(1)),
            "default-with-a-new-referenced-row": (
                _ONE,
                "CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds VALUES (1); ALTER TABLE one ADD kind int NOT NULL DEFAULT 1 REFERENCES kinds",
            ),
            "foreign-key-of-a-new-table": "CREATE TABLE fresh (id serial PRIMARY KEY, user_id bigint REFERENCES users)",
            "foreign-key-added-to-a-new-table": "CREATE TABLE fresh (user_id bigint); ALTER TABLE fresh ADD FOREIGN KEY (user_id) REFERENCES users",
            "default-null-of-a-foreign-key": (_ONE, _REFER.format("NULL")),
        },
    ),
]

_SYNC = """ALTER TABLE users ADD mail text; CREATE TABLE log (note text); CREATE FUNCTION sync() RETURNS trigger
    LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
    CREATE TRIGGER sync BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()"""
_COPIES = _SYNC.format("NEW.mail := NEW.email;")
_LOGS = _SYNC.format("INSERT INTO log (note) VALUES (NEW.email);")
_MAY_COPY = _SYNC.format("IF NEW.age > 3 THEN NEW.mail := NEW.email; END IF;")
TRIGGER_FUNCTIONS = [
    *_cases(
        "danger",
        {
            "new-trigger-function-with-a-wrong-column": _COPIES.replace("NEW.mail", "NEW.e_mail"),
            "new-trigger-function-with-a-wrong-table": _LOGS.replace("INTO log", "INTO logs"),
            "trigger-function-replaced-by-a-wrong-one": (
                _COPIES,
                "CREATE OR REPLACE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.e_mail := 1; RETURN NEW; END'",
            ),
        },
    ),
    *_cases(
        "warn",
        {
            "new-trigger-function-with-a-wrong-column-behind-a-condition": _MAY_COPY.replace(
                "NEW.mail", "NEW.e_mail"
            )
        },
    ),
    *_cases(
        "safe",
        {
            "new-trigger-function": _COPIES,
            "trigger-function-without-a-dropped-column": (
                f"{_COPIES}; ALTER TABLE visits ADD note text",
                "ALTER TABLE users ADD more text",
            ),
            "trigger-function-with-temporary-table": _LOGS.replace(
                "INSERT INTO log", "CREATE TEMP TABLE IF NOT EXISTS tmp (note text); INSERT INTO tmp"
            ),
            "trigger-function-for-two-tables": """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF TG_TABLE_NAME = 'users' THEN NEW.email := ''; ELSE NEW.pages := 1; END IF; RETURN NEW; END $$;
                CREATE TRIGGER f BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f();
                CREATE TRIGGER f BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION f()""",
        },
    ),
]
_DOMAIN = "CREATE DOMAIN d AS int DEFAULT 1; CREATE TABLE t (id int, a d{}); INSERT INTO t VALUES (1, {})"
_POSITIVE = "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0) NOT VALID"
_BY_DEFAULT = "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY, a int); INSERT INTO t ({}) VALUES (7)"
_ALWAYS = "ALTER TABLE t ALTER id SET GENERATED ALWAYS"
GENERATED = [
    *_cases(
        "danger",
        {
            "check-of-a-domain-that-rows-break": (_DOMAIN.format("", -1), _POSITIVE),
            "check-of-a-domain-that-null-breaks": (
                _DOMAIN.format("", "NULL"),
                _POSITIVE.replace("VALUE > 0", "VALUE IS NOT NULL"),
            ),
            "default-of-a-domain-dropped": (
                _DOMAIN.format(" NOT NULL", 1),
                "ALTER DOMAIN d DROP DEFAULT",
            ),
            "identity-always-of-given-values": (_BY_DEFAULT.format("id"), _ALWAYS),
        },
    ),
    *_cases("warn", {"identity-always-of-yielded-values": (_BY_DEFAULT.format("a"), _ALWAYS)}),
    *_cases(
        "safe",
        {
            "check-of-a-domain-that-rows-meet": (_DOMAIN.format("", 1), _POSITIVE),
            "default-of-a-domain-of-nullable-columns-dropped": (
                _DOMAIN.format("", 1),
                "ALTER DOMAIN d DROP DEFAULT",
            ),
            "identity-by-default": (
                "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY)",
                "ALTER TABLE t ALTER id SET GENERATED BY DEFAULT",
            ),
        },
    ),
]
_G = "CREATE FUNCTION g({}) RETURNS int LANGUAGE sql AS 'SELECT 1'"
_OPTIONAL = _G.format("int, int DEFAULT 1")
_OUT = "CREATE FUNCTION g(int, OUT a int, OUT {} int) LANGUAGE sql AS 'SELECT 1, 2'"
SIGNATURES = [
    *_cases(
        "danger",
        {
            "overload-that-is-ambiguous": (_OPTIONAL, _G.format("int, text DEFAULT ''")),
            "overload-that-gets-the-calls": (_OPTIONAL, _G.format("int")),
            "argument-without-its-default": (
                _OPTIONAL,
                f"DROP FUNCTION g(int, int); {_G.format('int, int')}",
            ),
            "result-without-a-column": (_OUT.format("b"), f"DROP FUNCTION g(int); {_OUT.format('c')}"),
        },
    ),
    *_cases(
        "warn",
        {"argument-renamed": (_G.format("a int"), f"DROP FUNCTION g(int); {_G.format('b int')}")},
    ),
    *_cases(
        "safe",
        {
            "overload-of-another-type": (_OPTIONAL, _G.format("text")),
            "overload-with-more-arguments": (_OPTIONAL, _G.format("int, int, int")),
            "overload-made-anew": (
                f"{_OPTIONAL}; {_G.format('int')}",
                f"DROP FUNCTION g(int); {_G.format('int')}",
            ),
            "argument-that-gets-a-name": (_G.format("int"), f"DROP FUNCTION g(int); {_G.format('b int')}"),
            "arguments-with-the-same-names": (
                _G.format("a int, OUT b int").replace("RETURNS int ", ""),
                f"DROP FUNCTION g(int); {_G.format('a int, OUT b int').replace('RETURNS int ', '')}",
            ),
        },
    ),
]
_H = "CREATE FUNCTION h({}) RETURNS int LANGUAGE sql AS 'SELECT 1'"
_H_NONE = _H.replace("RETURNS int", "RETURNS SETOF int").replace("1'", "1 WHERE false'")
UNTYPED = [
    *_cases(
        "warn",
        {
            "overload-that-gets-untyped-literals": (_H.format("date"), _H_NONE.format("text")),
            "overload-that-gets-untyped-literals-of-a-varchar": (
                _H.format("varchar"),
                _H_NONE.format("text"),
            ),
            "overload-that-competes-for-untyped-literals": (_H.format("date"), _H.format("int")),
            "overload-with-another-second-argument": (_H.format("int, date"), _H_NONE.format("int, text")),
        },
    ),
    *_cases(
        "safe",
        {
            "overload-beside-a-text": (_H.format("text"), _H_NONE.format("date")),
            "overload-beside-the-preferred-type": (_H.format("timestamptz"), _H_NONE.format("date")),
        },
    ),
]
_OBJECTS = {
    "view": ("CREATE VIEW o AS SELECT id FROM users", "VIEW o"),
    "materialized-view": ("CREATE MATERIALIZED VIEW o AS SELECT id FROM users", "MATERIALIZED VIEW o"),
    "function": ("", "FUNCTION wipe()"),
    "procedure": ("CREATE PROCEDURE o() LANGUAGE sql AS 'SELECT 1'", "PROCEDURE o()"),
    "aggregate": ("CREATE AGGREGATE o(int) (SFUNC = int4pl, STYPE = int)", "AGGREGATE o(int)"),
    "enum": ("CREATE TYPE o AS ENUM ('ok')", "TYPE o"),
    "domain": ("CREATE DOMAIN o AS int", "DOMAIN o"),
    "composite-type": ("CREATE TYPE o AS (x int)", "TYPE o"),
    "sequence": ("CREATE SEQUENCE o", "SEQUENCE o"),
    "table": ("", "TABLE empty"),
    "collation": ('CREATE COLLATION o FROM "C"', "COLLATION o"),
    "configuration": (
        "CREATE TEXT SEARCH CONFIGURATION o (COPY = simple)",
        "TEXT SEARCH CONFIGURATION o",
    ),
    "operator": (
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        "OPERATOR === (int, int)",
    ),
}
_SERVER = "DROP FOREIGN DATA WRAPPER IF EXISTS w CASCADE; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (a int, b int) SERVER s"
_UNIQUE = "CREATE TABLE q (a int, b int); ALTER TABLE q ADD CONSTRAINT u UNIQUE (a)"
ONE_SCALE = [
    *_cases(
        "danger",
        {
            f"{name}-{verb}": (setup, migration.format(what))
            for name, (setup, what) in _OBJECTS.items()
            for verb, migration in {
                "dropped": "DROP {}",
                "renamed": "ALTER {} RENAME TO other",
                "moved": "CREATE SCHEMA attic; ALTER {} SET SCHEMA attic",
            }.items()
            if (name, verb) != ("operator", "renamed")
        },
    ),
    *_cases(
        "danger",
        {
            "column-of-a-view-renamed": (
                _OBJECTS["view"][0],
                "ALTER VIEW o RENAME COLUMN id TO key",
            ),
            "column-of-a-materialized-view-renamed": (
                _OBJECTS["materialized-view"][0],
                "ALTER MATERIALIZED VIEW o RENAME COLUMN id TO key",
            ),
            "attribute-renamed": (_OBJECTS["composite-type"][0], "ALTER TYPE o RENAME ATTRIBUTE x TO y"),
            "attribute-dropped": (_OBJECTS["composite-type"][0], "ALTER TYPE o DROP ATTRIBUTE x"),
            "column-of-a-foreign-table-dropped": (_SERVER, "ALTER FOREIGN TABLE f DROP b"),
            "column-of-a-foreign-table-renamed": (_SERVER, "ALTER FOREIGN TABLE f RENAME b TO c"),
        },
    ),
    *_cases(
        "warn",
        {
            "unique-constraint-renamed": (_UNIQUE, "ALTER TABLE q RENAME CONSTRAINT u TO v"),
            "unique-constraint-replaced-by-an-index": (
                _UNIQUE,
                "CREATE UNIQUE INDEX v ON q (a); ALTER TABLE q DROP CONSTRAINT u",
            ),
            "unique-constraint-dropped": (_UNIQUE, "ALTER TABLE q DROP CONSTRAINT u"),
            "unique-constraint-of-fewer-rows": (
                _UNIQUE,
                "CREATE UNIQUE INDEX v ON q (a) WHERE b > 3; ALTER TABLE q DROP CONSTRAINT u",
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "unique-constraint-made-anew": (
                _UNIQUE,
                "CREATE UNIQUE INDEX v ON q (a); ALTER TABLE q DROP CONSTRAINT u, ADD CONSTRAINT u UNIQUE USING INDEX v",
            ),
            "check-renamed": (
                "ALTER TABLE empty ADD CONSTRAINT c CHECK (true)",
                "ALTER TABLE empty RENAME CONSTRAINT c TO d",
            ),
            "unique-index-renamed": ("CREATE UNIQUE INDEX u ON users (email)", "ALTER INDEX u RENAME TO v"),
            "attribute-added": (_OBJECTS["composite-type"][0], "ALTER TYPE o ADD ATTRIBUTE y int"),
            "column-added-to-a-view": (
                _OBJECTS["view"][0],
                "CREATE OR REPLACE VIEW o AS SELECT id, email FROM users",
            ),
            "column-of-a-view-renamed-and-back": (
                _OBJECTS["view"][0],
                "ALTER VIEW o RENAME COLUMN id TO key; ALTER VIEW o RENAME COLUMN key TO id",
            ),
        },
    ),
]
_DELETE_ALL = """CREATE FUNCTION clear() RETURNS {} LANGUAGE plpgsql AS 'BEGIN DELETE FROM visits; {} END';
    CREATE {}TRIGGER clear {} EXECUTE FUNCTION clear()"""
_OF_ROWS = _DELETE_ALL.format("trigger", "RETURN NULL;", "", "AFTER UPDATE ON users FOR EACH ROW")
_ITEMS = """CREATE TABLE groups (id int PRIMARY KEY, note int); INSERT INTO groups SELECT generate_series(1, 100);
    CREATE TABLE items (id int, of int REFERENCES groups ON DELETE CASCADE);
    INSERT INTO items SELECT g, 1 + g %% {} FROM generate_series(1, 300) g""".replace("%%", "%")
FIRED = [
    *_cases(
        "danger",
        {
            "trigger-of-statements-that-deletes": (
                _OF_ROWS.replace(" FOR EACH ROW", ""),
                "UPDATE users SET age = 1 WHERE id = 5",
            ),
            "trigger-of-rows-that-deletes": (_OF_ROWS, "UPDATE users SET age = 1 WHERE id = 5"),
            "trigger-of-rows-that-an-upsert-fires": (
                _OF_ROWS,
                "INSERT INTO users VALUES (5, '', 1) ON CONFLICT (id) DO UPDATE SET age = 1",
            ),
            "trigger-of-rows-that-a-block-fires": (
                _OF_ROWS,
                "DO $$ BEGIN UPDATE users SET age = 1 WHERE id = 5; END $$",
            ),
            "event-trigger-that-deletes": (
                _DELETE_ALL.format("event_trigger", "", "EVENT ", "ON ddl_command_end"),
                "CREATE TABLE fresh (id int)",
            ),
            "delete-that-cascades-to-every-row": (_ITEMS.format(1), "DELETE FROM groups WHERE id = 1"),
            "prepared-delete": "PREPARE q AS DELETE FROM visits; EXECUTE q",
        },
    ),
    *_cases(
        "warn",
        {"delete-that-cascades-to-a-few-rows": (_ITEMS.format(100), "DELETE FROM groups WHERE id = 1")},
    ),
    *_cases(
        "safe",
        {
            "trigger-of-deletes-that-an-update-does-not-fire": (
                _OF_ROWS.replace("AFTER UPDATE", "AFTER DELETE"),
                "UPDATE users SET age = 1 WHERE id = 5",
            ),
            "disabled-trigger-that-deletes": (
                f"{_OF_ROWS}; ALTER TABLE users DISABLE TRIGGER clear",
                "UPDATE users SET age = 1 WHERE id = 5",
            ),
            "trigger-that-deletes-created": _OF_ROWS,
            "delete-that-cascades-to-no-row": (
                f"{_ITEMS.format(100)}; DELETE FROM items",
                "DELETE FROM groups WHERE id = 1",
            ),
            "delete-in-a-message": "DO $$ BEGIN RAISE NOTICE 'DELETE FROM visits;'; END $$",
            "delete-in-a-comment": "DO $$ BEGIN /* DELETE FROM visits */ PERFORM 1; END $$",
            "merge-that-does-nothing": "MERGE INTO visits USING users ON visits.user_id = users.id WHEN MATCHED THEN DO NOTHING",
        },
    ),
]

_UPDATES = """CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE visits SET pages = 0{};
    RETURN NULL; END $$; CREATE TRIGGER w AFTER UPDATE {}"""
_UPDATES_ALL = _UPDATES.format("", "ON users EXECUTE FUNCTION w()")
_UPDATES_OWN = _UPDATES.format(" WHERE user_id = NEW.id", "ON users FOR EACH ROW EXECUTE FUNCTION w()")
_ONE_USER = "UPDATE users SET age = 1 WHERE id = 5"
_ALL_USERS = "UPDATE users SET age = 1 WHERE age > -1"
_ON_DELETE = _ITEMS.replace("ON DELETE CASCADE", "ON DELETE SET NULL")
_ON_UPDATE = _ITEMS.replace("ON DELETE CASCADE", "ON UPDATE {}")
_DELETES_GROUP = "DELETE FROM groups WHERE id = 1"
_NEW_KEY = "UPDATE groups SET id = 1000 WHERE id = 1"
FIRED_UPDATES = [
    *_cases(
        "danger",
        {
            "deletion-that-sets-null-in-every-row": (_ON_DELETE.format(1), _DELETES_GROUP),
            "deletion-that-sets-the-default-in-every-row": (
                _ON_DELETE.format(1).replace("SET NULL", "SET DEFAULT"),
                _DELETES_GROUP,
            ),
            "new-key-that-sets-null-in-every-row": (_ON_UPDATE.format("SET NULL", 1), _NEW_KEY),
            "trigger-that-deletes-for-every-row": (
                _UPDATES_OWN.replace("UPDATE visits SET pages = 0", "DELETE FROM visits"),
                _ALL_USERS,
            ),
        },
    ),
    *_cases(
        "warn",
        {
            "trigger-of-statements-that-updates": (_UPDATES_ALL, _ONE_USER),
            "trigger-of-rows-that-updates-for-every-row": (_UPDATES_OWN, _ALL_USERS),
            "deletion-that-sets-null-in-a-few-rows": (_ON_DELETE.format(100), _DELETES_GROUP),
            "new-key-that-cascades-to-every-row": (_ON_UPDATE.format("CASCADE", 1), _NEW_KEY),
        },
    ),
    *_cases(
        "safe",
        {
            "trigger-of-rows-that-updates-for-one-row": (_UPDATES_OWN, _ONE_USER),
            "trigger-of-a-column-that-is-not-set": (
                _UPDATES_ALL.replace("UPDATE ON", "UPDATE OF email ON"),
                _ONE_USER,
            ),
            "deletion-that-sets-null-in-no-row": (
                f"{_ON_DELETE.format(100)}; DELETE FROM items",
                "DELETE FROM groups WHERE id = 1",
            ),
            "new-key-that-cascades-to-a-few-rows": (_ON_UPDATE.format("CASCADE", 100), _NEW_KEY),
            "key-that-stays": (_ON_UPDATE.format("SET NULL", 1), "UPDATE groups SET note = 1 WHERE id = 1"),
        },
    ),
]
_COPY = "COPY ({}) TO PROGRAM 'cat > /dev/null'"
COPIES = [
    *_cases(
        "danger",
        {
            "copy-of-a-deletion": _COPY.format("DELETE FROM visits RETURNING id"),
            "copy-of-a-function-that-deletes": _COPY.format("SELECT wipe()"),
            "copy-under-a-lock": f"ALTER TABLE visits ADD z int; {_COPY.format('SELECT * FROM visits')}",
        },
    ),
    *_cases(
        "safe",
        {
            "copy-of-a-query": _COPY.format("SELECT * FROM visits"),
            "copy-of-a-deleted-row": _COPY.format("DELETE FROM visits WHERE id = 1 RETURNING id"),
            "copy-into-a-table": "COPY empty (note) FROM PROGRAM 'echo a'",
        },
    ),
]
_ROLE = """DO $$ BEGIN CREATE ROLE verdict_role LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    DROP ROLE IF EXISTS verdict_other; ALTER ROLE verdict_role LOGIN"""
ROLES = [
    *_cases(
        "danger",
        {
            "role-dropped": (_ROLE, "DROP ROLE verdict_role"),
            "role-dropped-in-a-block": (_ROLE, "DO $$ BEGIN DROP ROLE verdict_role; END $$"),
            "role-renamed": (_ROLE, "ALTER ROLE verdict_role RENAME TO verdict_other"),
            "role-that-may-not-log-in": (_ROLE, "ALTER ROLE verdict_role WITH NOLOGIN"),
        },
    ),
    *_cases("safe", {"new-role-dropped": "CREATE ROLE verdict_new; DROP ROLE verdict_new"}),
]
EXTENSIONS = [
    *_cases(
        "danger",
        {
            "extension-of-a-type-dropped": ("CREATE EXTENSION citext", "DROP EXTENSION citext"),
            "extension-of-functions-dropped": (
                "CREATE EXTENSION pg_trgm; CREATE INDEX i ON users USING gin (email gin_trgm_ops)",
                "DROP EXTENSION pg_trgm CASCADE",
            ),
        },
    ),
    *_cases(
        "safe",
        {
            "extension-made-anew": (
                "CREATE EXTENSION citext",
                "DROP EXTENSION citext; CREATE EXTENSION citext",
            )
        },
    ),
]

CASES = [
    *INSERTS,
    *LOST_NAMES,
    *DELETES,
    *ATTACHED,
    *RULES,
    *REPLACED_NAMES,
    *REFUSED,
    *NEW_COLUMNS,
    *TRIGGER_FUNCTIONS,
    *GENERATED,
    *SIGNATURES,
    *ONE_SCALE,
    *FIRED,
    *UNTYPED,
    *FIRED_UPDATES,
    *COPIES,
    *ROLES,
    *EXTENSIONS,
]
