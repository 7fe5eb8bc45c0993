"""Catalogs of which only changed relations are read again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.config.load import load
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.postgres.catalog import reader as reader_module
from circle_migrate.postgres.catalog.read import object_ids, read_catalog
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.sql_text import split_statements
from tests.servers import Databases, run

_TESTS = Path(__file__).parent.parent
_ROWS = re.compile(r"generate_series\(\s*1\s*,\s*\d+\s*\)")
_RARE = (
    *("pg_event_trigger", "pg_foreign_data_wrapper", "pg_foreign_server", "pg_publication"),
    *("pg_subscription", "pg_transform", "pg_user_mapping"),
)
_ENDS = ("BEGIN", "COMMIT", "ROLLBACK")
_SCHEMA = """
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TYPE pair AS (a int, b mood);
CREATE DOMAIN percent AS int CHECK (VALUE < 100);
CREATE SEQUENCE counter;
CREATE TABLE p (
    id serial PRIMARY KEY, u int CONSTRAINT p_u UNIQUE, m mood DEFAULT 'ok', q percent, c pair
);
CREATE TABLE f (
    id int GENERATED ALWAYS AS IDENTITY, p int REFERENCES p (u), n int DEFAULT nextval('counter')
);
CREATE TABLE other.child (x int) INHERITS (p);
CREATE TABLE referring (u int REFERENCES p (u));
CREATE TABLE parts (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (10);
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON p FOR EACH ROW WHEN (NEW.u > 1) EXECUTE FUNCTION touched();
CREATE VIEW joined AS SELECT * FROM p JOIN f USING (id);
CREATE VIEW above AS SELECT id FROM joined;
CREATE MATERIALIZED VIEW stored AS SELECT u, count(*) AS n FROM p GROUP BY u;
CREATE INDEX stored_u ON stored (u);
CREATE RULE kept AS ON DELETE TO f DO ALSO
    INSERT INTO p (u) VALUES (OLD.p) ON CONFLICT ON CONSTRAINT p_u DO NOTHING;
CREATE TABLE guarded (id int);
CREATE POLICY own ON guarded USING (EXISTS (SELECT FROM p JOIN referring USING (u) WHERE p.id = guarded.id));
CREATE STATISTICS both_columns ON u, q FROM p;
"""
_CHANGES = """
ALTER TABLE p ALTER u SET DEFAULT 1; ALTER TABLE f ADD m mood; ALTER TABLE f ADD u int;
ALTER TABLE referring ADD m int; ALTER TABLE p ADD n int;
ALTER TABLE p DROP n;
ALTER TABLE p RENAME u TO w; ALTER TABLE p RENAME w TO u; ALTER TABLE f RENAME TO g;
ALTER TABLE g RENAME TO f;
ALTER TABLE p RENAME TO pp; ALTER TABLE pp RENAME TO p;
ALTER SEQUENCE counter OWNED BY p.u; ALTER SEQUENCE counter OWNED BY f.n;
ALTER SEQUENCE counter RENAME TO c2;
ALTER SEQUENCE c2 INCREMENT 5; ALTER TABLE f ALTER id SET INCREMENT BY 3;
ALTER TABLE f ALTER id DROP IDENTITY;
COMMENT ON COLUMN p.u IS 'x'; COMMENT ON CONSTRAINT p_u ON p IS 'y'; COMMENT ON INDEX stored_u IS 'z';
COMMENT ON TRIGGER touch ON p IS 't'; COMMENT ON SEQUENCE c2 IS 's'; COMMENT ON SCHEMA public IS 'p';
ALTER TABLE p DISABLE TRIGGER ALL; ALTER TABLE p ENABLE TRIGGER ALL;
ALTER TABLE p RENAME CONSTRAINT p_u TO p_w;
ALTER INDEX stored_u RENAME TO stored_w; ALTER VIEW joined RENAME COLUMN m TO mm;
ALTER VIEW joined SET SCHEMA other;
ALTER TABLE parts ADD PRIMARY KEY (k); ALTER TABLE parts DETACH PARTITION parts_1;
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (1) TO (20); ALTER TABLE parts ADD w int;
ALTER TABLE other.child NO INHERIT p; ALTER TABLE p ALTER q TYPE bigint;
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';
ALTER TYPE mood RENAME TO temper; ALTER TYPE pair ADD ATTRIBUTE z int;
ALTER FUNCTION touched RENAME TO felt;
ALTER SCHEMA other RENAME TO another; GRANT SELECT ON p TO PUBLIC; GRANT SELECT (id) ON p TO PUBLIC;
GRANT USAGE ON SCHEMA another TO PUBLIC; REVOKE EXECUTE ON FUNCTION felt FROM PUBLIC;
CREATE TABLE fresh (id serial PRIMARY KEY, p int REFERENCES p (u)); CREATE INDEX ON fresh (p);
CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql
RETURN (SELECT count(*) FROM p JOIN referring USING (u)); ALTER TABLE referring ADD q int;
CREATE FUNCTION whole(r p) RETURNS int LANGUAGE sql RETURN r.id; ALTER TABLE p RENAME id TO ident;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER ROLE CURRENT_USER SET work_mem = '8MB';
CREATE TEMPORARY TABLE passing (id int); DROP TABLE fresh; DROP TABLE p CASCADE; CREATE TABLE p (id int);
DO $$BEGIN DROP TABLE p; CREATE TABLE p (id int); END$$; DO $$BEGIN DROP TABLE p; RAISE 'x';
EXCEPTION WHEN others THEN NULL; END$$
"""


def _scripts() -> Iterator[tuple[str, list[str]]]:
    """Yield what creates a schema, and scripts each of which changes it."""
    yield _SCHEMA, [_CHANGES]
    for file in ("drift", "ddl", "sketch"):
        for case in _lines(_TESTS / "diff" / f"{file}_cases.jsonl"):
            yield case["before"], [case["after"]]
    for case in _lines(_TESTS / "safety" / "safety_cases.jsonl"):
        yield _ROWS.sub("generate_series(1, 3)", case["setup_sql"]), [case["migration_sql"]]
    for file in ("documented", "safety"):
        first, *cases = _lines(_TESTS / "safety" / f"{file}_operations.jsonl")
        yield first["schema"], [case["migration_sql"] for case in cases]


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class _Comparison:
    """Compares what the reader of changes and a full reading return."""

    def __init__(self, connection: asyncpg.Connection, settings: DatabaseSettings) -> None:
        self.connection, self.settings = connection, settings
        self.changed, self.whole = CatalogReader(connection, settings), CatalogReader(connection, settings)

    async def check(self, text: str) -> None:
        table = self.settings.version_table, self.settings.version_table_schema
        fetch = self.whole.fetch
        full = await read_catalog(self.connection, self.settings.name, "scratch", *table, fetch=fetch)
        found = await self.changed.snapshot()
        assert dict(found.objects) == dict(full.objects), text
        assert dict(found.unmodelled) == dict(full.unmodelled), text
        ids = await object_ids(self.connection, *table, fetch=fetch)
        assert await self.changed.present_ids() == set(ids.values()), text

    async def run(self, script: str) -> int:
        """Run each statement, in a savepoint as many fail, and compare after it."""
        count = 0
        for text in split_statements(script):
            if text.strip().upper().startswith(_ENDS):
                continue
            await self.connection.execute("SAVEPOINT one")
            try:
                await self.connection.execute(text)
            except asyncpg.PostgresError:
                await self.connection.execute("ROLLBACK TO one; RELEASE one")
                continue
            await self.connection.execute("RELEASE one")
            await self.check(text)
            count += 1
        return count


async def _compare(databases: Databases, scripts: Iterable[tuple[str, list[str]]]) -> int:
    settings = Deployment(load(environ={"DATABASE_URL": databases.urls["main"]})).databases["main"].settings
    count = 0
    async with databases.connect("main") as connection:
        comparison = _Comparison(connection, settings)
        for number, (before, after) in enumerate(scripts):
            await connection.execute("BEGIN")
            count += await comparison.run(before)
            for script in after:
                await connection.execute("SAVEPOINT made")
                count += await comparison.run(script)
                await connection.execute("ROLLBACK TO made; RELEASE made")
                await comparison.check(f"ROLLBACK of {script}")
            await connection.execute("ROLLBACK")
            for catalog in _RARE:  # a catalog counts as used until it is empty on disk
                await connection.execute(f"VACUUM {catalog}")
            await comparison.check(f"ROLLBACK of {number}")
    return count


@pytest.fixture
def full_readings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    read = reader_module.read_objects

    async def counted(*arguments: object) -> object:
        calls.append(arguments)
        return await read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reader_module, "read_objects", counted)
    return calls


def test_changes_of_a_schema_are_read_as_the_whole(
    empty_databases: Databases, full_readings: list[object]
) -> None:
    count = run(_compare(empty_databases, [(_SCHEMA, [_CHANGES])]))
    assert count >= 60
    assert len(full_readings) < count


@pytest.mark.thorough
def test_changes_of_all_cases_are_read_as_the_whole(
    empty_databases: Databases, full_readings: list[object]
) -> None:
    count = run(_compare(empty_databases, _scripts()))
    assert count > 1500
    assert len(full_readings) < count
