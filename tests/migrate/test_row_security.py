"""Policies of row level security that would hide rows from a revision make it fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

_DOCUMENTS = """CREATE TABLE doc (id int PRIMARY KEY, tenant int);
INSERT INTO doc VALUES (1, 1), (2, 2);
ALTER TABLE doc ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON doc USING (tenant = 1)"""
_FORCED = f"{_DOCUMENTS}; ALTER TABLE doc FORCE ROW LEVEL SECURITY"


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A project whose migrator is neither a superuser nor may bypass policies."""
    role = f"tenant_{empty_databases.names['main']}"
    grants = f"GRANT CREATE ON SCHEMA public TO {role}; CREATE SCHEMA circle_migrate AUTHORIZATION {role}"
    run(execute(empty_databases, "main", f"CREATE ROLE {role}", grants))
    for name, url in environment(empty_databases).items():
        as_role = f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"
        monkeypatch.setenv(name, as_role if name == "DATABASE_URL" else url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    yield Shop(project_folder)
    run(execute(empty_databases, "main", f"DROP OWNED BY {role}", f"DROP ROLE {role}"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("UPDATE doc SET tenant = tenant + 100", ""),
        ("DELETE FROM doc", "transactional = False"),
        ("CREATE TABLE copied AS TABLE doc", ""),
        ("DO $$ BEGIN PERFORM FROM doc; END $$", ""),
    ],
)
def test_owner_of_a_table_with_forced_policies(
    shop: Shop, empty_databases: Databases, statement: str, more: str
) -> None:
    shop.add("main", "m1", None, [_FORCED], [])
    shop.add("main", "m2", "m1", [statement], [], more)
    assert invoke(["upgrade", "main@m1"]).status == 0
    answer = invoke(["upgrade"])
    assert answer.status == 9, answer
    for text in ('row-level security policy for table "doc"', "m2.py", "BYPASSRLS", "main is at m1"):
        assert text in answer.stderr.replace("\n", " "), answer.stderr
    run(execute(empty_databases, "main", "ALTER TABLE doc NO FORCE ROW LEVEL SECURITY"))
    assert invoke(["upgrade"]).status == 0


def test_table_of_another_role(shop: Shop, empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", _DOCUMENTS, "GRANT ALL ON doc TO PUBLIC"))
    shop.add("main", "m1", None, ["DELETE FROM doc"], [])
    assert "row-level security" in invoke(["upgrade"]).stderr
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM doc")) == [(2,)]


def test_revision_that_asks_for_the_policies(shop: Shop, empty_databases: Databases) -> None:
    shop.add("main", "m1", None, [_FORCED], [])
    shop.add("main", "m2", "m1", ["SET row_security = on", "UPDATE doc SET id = id + 10"], [])
    shop.add("main", "m3", "m2", ["SELECT FROM doc"], [])
    assert "main is at" in invoke(["upgrade", "--transaction", "per-revision"]).stderr
    assert run(rows(empty_databases, "main", "SELECT id FROM doc ORDER BY 1")) == [(2,), (11,)]


def test_row_that_the_policies_refuse(shop: Shop) -> None:
    statements = ["SET row_security = on", "UPDATE doc SET tenant = tenant + 1"]
    shop.add("main", "m1", None, [_FORCED, *statements], [])
    answer = invoke(["upgrade"])
    assert answer.status == 9
    assert 'the policies of "doc" refuse a row' in answer.stderr
    assert "hide rows" not in answer.stderr


@pytest.mark.thorough
def test_version_table_with_policies(shop: Shop, empty_databases: Databases) -> None:
    shop.add("main", "m1", None, [], [])
    assert invoke(["upgrade"]).status == 0
    for how in ("ENABLE", "FORCE"):
        run(execute(empty_databases, "main", f"ALTER TABLE alembic_version {how} ROW LEVEL SECURITY"))
    for line in ("current", "check", "upgrade"):
        answer = invoke([line])
        assert answer.status in {5, 9}, answer
        assert "alembic_version" in answer.everything


def test_script_refuses_too(shop: Shop) -> None:
    shop.add("main", "m1", None, [_FORCED], [])
    script = invoke(["upgrade", "--sql", "main@base:m1"]).stdout
    assert script.index("SET row_security = off;") < script.index("BEGIN;")
