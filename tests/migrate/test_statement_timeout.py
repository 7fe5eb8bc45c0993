"""The setting `statement-timeout`: the statements of each step have the limit, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deployments import environment, invoke, project_folder, versions
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

DECLARED = "transactional = False"
SLEEP = "SELECT pg_sleep(5)"
KEEP = "CREATE TABLE {} AS SELECT current_setting('statement_timeout') AS value"


@pytest.fixture(params=["asyncpg", pytest.param("psycopg", marks=pytest.mark.thorough)])
def shop(
    request: pytest.FixtureRequest,
    project_folder: Path,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    """A project whose main database uses the driver."""
    pytest.importorskip(request.param, reason="the driver is not installed")
    for variable, url in environment(empty_databases).items():
        monkeypatch.setenv(variable, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SAFETY", "off")
    shop = Shop(project_folder)
    settings = (project_folder / "pyproject.toml").read_text(encoding="utf-8")
    main = "[tool.circle-migrate.databases.main]\n"
    shop.write_settings(settings.replace(main, f'{main}driver = "{request.param}"\n'))
    return shop


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("statements", "more", "status", "words"),
    [
        ([SLEEP], "", 10, "upgrade m1 Revision m1 failed: a statement took longer than 0.6 s"),
        ([SLEEP], DECLARED, 10, "failed: a statement took longer than 0.6 s (statement-timeout)"),
        (["CREATE TABLE t (id int)", SLEEP], DECLARED, 8, "the limit of a statement is 0.6 s"),
        (["SET statement_timeout = '900ms'", SLEEP], "", 10, "upgrade m1 Revision m1 failed\n"),
        (["SET LOCAL statement_timeout = 0", "SELECT pg_sleep(0.8)"], "", 0, ""),
        (["SET statement_timeout = 0", "SELECT pg_sleep(0.8)"], DECLARED, 0, ""),
        (["SELECT pg_sleep(0.25)"] * 3, "", 0, ""),
    ],
)
def test_statement_that_takes_longer_ends_its_step(
    shop: Shop, empty_databases: Databases, statements: list[str], more: str, status: int, words: str
) -> None:
    shop.add("main", "m1", None, statements, [], more=more)
    answer = invoke(["upgrade", "-d", "main", "--statement-timeout", "600ms"])
    assert answer.status == status, answer
    assert words in answer.stderr
    if "took longer" in words:
        assert "SQLSTATE 57014); in: SELECT pg_sleep(5)" in answer.stderr
        assert "main is at base" in answer.stderr
        assert "--statement-timeout SECONDS (0 for no limit)" in answer.stderr
    assert (run(versions(empty_databases))["main"] or []) == (["m1"] if status == 0 else [])


def test_session_that_somebody_cancels_is_not_the_limit(shop: Shop) -> None:
    shop.add("main", "m1", None, ["SELECT pg_cancel_backend(pg_backend_pid())", SLEEP], [])
    answer = invoke(["upgrade", "-d", "main", "--statement-timeout", "60"])
    assert answer.status == 10
    assert "57014" in answer.stderr
    assert "took longer" not in answer.stderr


def test_limit_holds_in_each_step_and_ends_with_it(shop: Shop, empty_databases: Databases) -> None:
    shop.add("main", "m1", None, [KEEP.format("t1"), "SET statement_timeout = '7s'"], [])
    # A deferred constraint is checked after the step, by a statement of ours.
    function = "BEGIN INSERT INTO t2 VALUES (current_setting('statement_timeout')); RETURN NULL; END"
    trigger = "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON t1 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    deferred = [
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $${function}$$",
        f"{trigger} EXECUTE FUNCTION f()",
        "INSERT INTO t1 VALUES ('x')",
    ]
    shop.add("main", "m2", "m1", [KEEP.format("t2"), *deferred], [])
    shop.add("main", "m3", "m2", [KEEP.format("t3")], [], more=DECLARED)
    answer = invoke(["upgrade", "-d", "main", "--statement-timeout", "4"])
    assert answer.status == 0, answer
    values = [run(rows(empty_databases, "main", f"SELECT value FROM t{number}")) for number in (1, 2, 3)]
    assert values == [[("4s",), ("x",)], [("4s",), ("0",)], [("4s",)]]


def test_plans_and_scripts_show_the_limit(shop: Shop) -> None:
    shop.add("main", "m1", None, ["SELECT 1"], [])
    options = ["-d", "main", "--statement-timeout", "2min"]
    for line in ("plan", "upgrade --dry-run"):
        assert "statement timeout: 120 s\n" in invoke([*line.split(), *options]).stdout
        assert "statement timeout" not in invoke([*line.split(), "-d", "main"]).stdout
        shown = json.loads(invoke([*line.split(), *options, "--format", "json"]).stdout)
        assert shown["statement_timeout"] == 120
    script = invoke(["upgrade", "--sql", *options]).stdout
    assert script.index("SET statement_timeout = 120000;\n") < script.index("BEGIN;")
    assert "statement_timeout" not in invoke(["upgrade", "--sql", "-d", "main"]).stdout


def test_scratch_databases_have_no_limit(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    monkeypatch.setenv("CIRCLE_MIGRATE_STATEMENT_TIMEOUT", "1ms")
    shop.add("main", "m1", None, ["SELECT pg_sleep(0.05)"], [])
    assert invoke(["snapshot", "head", "-d", "main"]).status == 0
