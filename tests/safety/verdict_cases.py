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


def _cases(expect: str, cases: dict[str, str | tuple[str, str]]) -> list[SafetyCase]:
    """Return cases from the SQL of a migration, or from more setup and that; `/` separates transactions."""
    made = []
    for name, given in cases.items():
        setup, migration = ("", given) if isinstance(given, str) else given
        groups = (["BEGIN", *statements(text), "COMMIT"] for text in migration.split(" / "))
        migrated = tuple(statement for group in groups for statement in group)
        setup_sql = tuple(statements(f"{_SCHEMA};{setup};ANALYZE"))
        made.append(SafetyCase(name, setup_sql, migrated, expect))
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

CASES = [*INSERTS, *LOST_NAMES]
