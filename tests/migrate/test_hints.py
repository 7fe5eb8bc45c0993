"""Errors of a step whose cause an earlier statement of the same step is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]

CAUSES = [
    (
        ["SET ROLE pg_monitor", "SELECT * FROM t"],
        9,
        'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE t TO "pg_monitor";',
    ),
    (
        ["SET LOCAL ROLE = 'pg_monitor'", "RESET ROLE", 'SET SESSION AUTHORIZATION "Eve"', "SELECT * FROM t"],
        9,
        'TO "Eve";',
    ),
    (["SELECT 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"], 10, "BEGIN ISOLATION LEVEL"),
    pytest.param(
        ["SET TRANSACTION READ ONLY", "SELECT 1"],
        10,
        "read-only by: SET TRANSACTION READ ONLY",
        marks=pytest.mark.thorough,
    ),
    (["SELECT set_config('transaction_read_only', 'on', true)"], 10, "read-only by: SELECT set_config("),
    (
        ["SELECT pg_advisory_xact_lock(i) FROM generate_series(1, 1000000) i"],
        10,
        'the setting transaction = "per-revision"',
    ),
    (["DROP SCHEMA circle_migrate CASCADE"], 10, "the step has removed or renamed this table"),
    (["ALTER TABLE alembic_version RENAME TO old"], 10, "the step has removed or renamed this table"),
    pytest.param(
        ["DROP TABLE circle_migrate.runs CASCADE"],
        10,
        "the step has removed or renamed this table",
        marks=pytest.mark.thorough,
    ),
]


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    return Shop(project_folder)


@pytest.mark.parametrize(("statements", "status", "text"), CAUSES)
def test_cause_in_an_earlier_statement(
    shop: Shop, empty_databases: Databases, statements: list[str], status: int, text: str
) -> None:
    run(
        execute(
            empty_databases, "main", "CREATE TABLE t ()", 'DROP ROLE IF EXISTS "Eve"', 'CREATE ROLE "Eve"'
        )
    )
    shop.add("main", "m1", None, statements, [])
    answer = invoke(["upgrade", "-d", "main", "--into-existing"])
    assert answer.status == status, answer
    for part in (text, "m1.py:", "main is at base"):
        assert part in answer.stderr, answer.stderr
    assert "transactional = False" not in answer.stderr or "BEGIN" in text


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        pytest.param("TRUNCATE circle_migrate.runs CASCADE", "", marks=pytest.mark.thorough),
        ("TRUNCATE circle_migrate.runs CASCADE", "transactional = False"),
        ("TRUNCATE circle_migrate.steps", ""),
        pytest.param("TRUNCATE circle_migrate.steps", "transactional = False", marks=pytest.mark.thorough),
        ("DELETE FROM circle_migrate.steps WHERE revision = 'm0'", ""),
    ],
)
def test_step_that_removes_rows_of_the_journal(shop: Shop, statement: str, more: str) -> None:
    shop.add("main", "m0", None, [], [])
    shop.add("main", "m1", "m0", [], [])
    shop.add("main", "m2", "m1", [statement], [], more=more)
    answer = invoke(["upgrade", "-d", "main"])
    text = " ".join(answer.stderr.split())
    assert answer.status == (8 if more else 10), answer
    assert "a step has removed rows of the journal; a revision leaves alembic_version" in text
    assert ("main is at m1" if more else "main is at base") in text


def test_step_that_changes_the_version_table(shop: Shop) -> None:
    shop.add("main", "m1", None, [], [])
    shop.add("main", "m2", "m1", ["DELETE FROM alembic_version"], [])
    shop.add("main", "m3", "m2", [], [])
    answer = invoke(["upgrade", "-d", "main"])
    text = " ".join(answer.stderr.split())
    assert answer.status == 10, answer
    assert "upgrade m2" in text
    assert "the step has changed rows of the version table; a revision leaves alembic_version" in text
    assert "main is at base" in text


@pytest.mark.parametrize(
    ("setting", "more"),
    [("idle_in_transaction_session_timeout", ""), ("idle_session_timeout", "transactional = False")],
)
def test_limit_that_ends_the_session_is_named(shop: Shop, setting: str, more: str) -> None:
    body = f'op.execute("SET {setting} = 1")\nimport time\ntime.sleep(0.3)\nop.execute("SELECT 1")'
    shop.revision("main", "m1", None, body, "pass", more=more)
    answer = invoke(["upgrade", "-d", "main"])
    assert answer.status == 9, answer
    assert f"the limit of: SET {setting} = 1;" in " ".join(answer.stderr.split())


SETTINGS = {
    "role = pg_monitor": 'GRANT SELECT ON TABLE alembic_version TO "pg_monitor";',
    "statement_timeout = 1": "SET statement_timeout",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting_of_the_database_is_named(shop: Shop, empty_databases: Databases, setting: str) -> None:
    shop.add("main", "m1", None, [], [])
    assert invoke(["upgrade", "-d", "main"]).status == 0
    name = empty_databases.names["main"]
    run(execute(empty_databases, "credentials", f"ALTER DATABASE {name} SET {setting}"))
    answer = invoke(["upgrade", "-d", "main"])
    assert (answer.status, SETTINGS[setting] in answer.stderr) == (9, True), answer


def test_message_of_a_long_statement_has_no_value_that_is_not_redacted(shop: Shop) -> None:
    values = ", ".join(f"'value {number}'" for number in range(5000))
    shop.add("main", "m1", None, [f"SELECT {values}, 'ab c'::int"], [])
    answer = invoke(["upgrade", "-d", "main"])
    assert answer.status == 10, answer
    assert 'type integer: "***" (SQLSTATE 22P02); in: SELECT' in " ".join(answer.stderr.split())


def test_revision_id_that_is_no_text(shop: Shop) -> None:
    file = shop.add("main", "m1", None, [], [])
    file.write_text(file.read_text().replace("revision = 'm1'", "revision = 3"))
    answer = invoke(["plan", "-d", "main"])
    assert (answer.status, "`revision` of m1.py is no text: 3" in answer.stderr) == (5, True), answer
