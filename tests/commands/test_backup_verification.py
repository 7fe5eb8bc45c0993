"""A backup is verified by restoring its schema; what cannot be restored stops a downgrade."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

_SQUEEZE = "CREATE FUNCTION squeeze(t text) RETURNS text LANGUAGE {} IMMUTABLE AS $$ {} $$"
_IN_SQL = _SQUEEZE.format("sql", "SELECT lower(t)")
_SLUGGED = "CREATE FUNCTION slugged(t text) RETURNS text LANGUAGE {} IMMUTABLE {} AS $$ {} $$"
_BY_SQL = _SLUGGED.format("sql", "", "SELECT squeeze(t)")
_BY_PLPGSQL = _SLUGGED.format("plpgsql", "", "BEGIN RETURN squeeze(t); END")
_BY_STRICT = _SLUGGED.format("plpgsql", "STRICT", "BEGIN RETURN squeeze(t); END")
_FIXED = _SLUGGED.format("plpgsql", "SET search_path = public", "BEGIN RETURN squeeze(t); END")
_PAGE = "CREATE TABLE page (id int PRIMARY KEY, title text, words int NOT NULL DEFAULT 0{})"
_GENERATED = _PAGE.format(", slug text GENERATED ALWAYS AS (slugged(title)) STORED")
_CHECK = _PAGE.format(", CHECK (slugged(title) <> 'x' AND words >= 0)")


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    return Shop(project_folder)


def write(shop: Shop, *statements: str) -> None:
    shop.add("main", "m1", None, list(statements), [])
    shop.add("main", "m2", "m1", ["INSERT INTO page VALUES (1, 'A')"], ["DROP TABLE page"])
    assert invoke(["upgrade", "--safety", "off"]).status == 0


@pytest.mark.thorough
@pytest.mark.parametrize(
    "statements",
    [
        [_BY_SQL, _GENERATED],
        [_BY_PLPGSQL, _GENERATED],
        [_BY_STRICT, _GENERATED],
        [_BY_STRICT, _CHECK],
        [_BY_STRICT, _PAGE.format(""), "CREATE INDEX ON page (id) WHERE slugged(title) = 'a'"],
    ],
    ids=["sql", "plpgsql", "strict", "check", "predicate"],
)
def test_dump_that_cannot_be_restored(shop: Shop, empty_databases: Databases, statements: list[str]) -> None:
    write(shop, _IN_SQL, *statements)
    answer = invoke(["backup", "saved"])
    assert answer.status == 10, answer
    assert "function squeeze(text) does not exist" in answer.stderr
    assert "SET search_path" in answer.stderr
    assert not (shop.folder / "saved").exists()
    accepted = ["--accept-loss", "main.page", "--yes"]
    answer = invoke(["downgrade", "main@m1", "--backup", "saved", *accepted])
    assert answer.status == 10, answer
    assert "--no-backup" in answer.stderr
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM page")) == [(1,)]
    assert invoke(["downgrade", "main@m1", "--no-backup", *accepted]).status == 0


@pytest.fixture
def roles(empty_databases: Databases) -> Iterator[list[str]]:
    """Roles that the server for scratch databases does not have."""
    names = [f"{word} {empty_databases.names['main']}" for word in ("owner", "reader")]
    run(execute(empty_databases, "main", *(f'CREATE ROLE "{name}"' for name in names)))
    yield names
    for name in names:
        run(execute(empty_databases, "main", f'DROP OWNED BY "{name}" CASCADE', f'DROP ROLE "{name}"'))


@pytest.mark.thorough
def test_dump_that_can_be_restored(
    shop: Shop, empty_databases: Databases, roles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, reader = roles
    run(execute(empty_databases, "main", "CREATE SCHEMA wares"))
    monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_SEARCH_PATH", "public, wares")
    write(
        shop,
        _IN_SQL,
        _FIXED,
        _GENERATED,
        "ALTER TABLE page ADD CHECK (slugged(title) <> '' AND words < 9)",
        "CREATE INDEX ON page (slugged(title), words) WHERE words > 0",
        "CREATE DOMAIN mail AS text NOT NULL CHECK (VALUE LIKE '%@%')",
        'CREATE TABLE odd (a mail, b int[], c timestamptz, d uuid, e "char")',
        "ALTER TABLE odd ADD CHECK (b <> '{}' OR c > now())",
        "CREATE MATERIALIZED VIEW first AS SELECT slugged(title) AS s FROM page",
        "CREATE MATERIALIZED VIEW second AS SELECT * FROM first",
        "ALTER TABLE page ENABLE ROW LEVEL SECURITY",
        f'CREATE POLICY readers ON page TO "{reader}" USING (true)',
        f'GRANT SELECT ON page TO "{reader}"',
        f'ALTER TABLE odd OWNER TO "{owner}"',
    )
    made = invoke(["backup", "saved", "--format", "json"])
    assert made.status == 0, made
    assert json.loads(made.stdout)["verified"] is True, made.stdout
    assert [path.suffix for path in (shop.folder / "saved").rglob("*.schema")] == []


def test_without_a_server_for_scratch_databases(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    write(shop, _PAGE.format(""))
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", "postgresql://a@127.0.0.1:1/b")
    made = invoke(["backup", "saved"])
    assert made.status == 0, made
    assert "complete, not verified" in made.stdout
    assert "main: whether the dump can be restored was not verified: " in made.stdout
