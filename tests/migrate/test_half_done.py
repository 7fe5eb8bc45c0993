"""Steps without transaction that a run has left half done: later commands know them, until one ends them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from circle_migrate.core.errors import HalfApplied, MigrationFailed
from circle_migrate.core.events import ignore_event
from circle_migrate.migrate.executor import RunOptions
from circle_migrate.migrate.executor import execute as execute_plan
from circle_migrate.migrate.planner import Planner
from circle_migrate.revision_graph.plan import Direction
from tests.deployments import RUNS, Answer, environment, execute, invoke, project_folder
from tests.faults.processes import started, until
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import NAMES, Databases, run

__all__ = ["project_folder"]

DECLARED = "transactional = False"
CREATE = "CREATE TABLE a (id int)", "CREATE TABLE b (id int)"
DROP = "DROP TABLE a", "SELECT 1 / 0", "DROP TABLE b"
BLOCK = """
op.execute("DROP TABLE a")
with op.get_context().autocommit_block():
    op.execute("SELECT 1")
op.execute("SELECT 1 / 0")
"""
DRIVER = """
from sqlalchemy.util import await_only
op.execute("DROP TABLE a")
await_only(op.get_bind().connection.driver_connection.execute("COMMIT"))
"""
UNDO = "downgrade main@m1 --yes --no-backup"


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project at m2, whose downgrade fails after its first statement."""
    for name, url in (environment(empty_databases) | {"CIRCLE_MIGRATE_SAFETY": "off"}).items():
        monkeypatch.setenv(name, url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id int, v int)"], ["DROP TABLE t"])
    shop.add("main", "m2", "m1", CREATE, DROP, more=DECLARED)
    shop.add("credentials", "c1", None, ["CREATE TABLE s (id int)"], ["DROP TABLE s"])
    assert invoke(["upgrade"]).status == 0
    return shop


async def undo(shop: Shop, databases: Databases) -> None:
    """Downgrade main to m1, without a rehearsal."""
    deployment = shop.deployment(databases)
    planner = Planner(deployment, ["main@m1"], Direction.DOWN)
    await execute_plan(deployment, NAMES, planner, ignore_event, RunOptions("downgrade", allow_edited=True))


def fail_to_undo(shop: Shop, databases: Databases) -> str:
    """Downgrade main, which fails half-way; return what the error says of the state."""
    with pytest.raises(HalfApplied) as caught:
        run(undo(shop, databases))
    return str(caught.value.state)


def command(line: str) -> Answer:
    """Run the command."""
    return invoke(line.split())


def words(answer: Answer) -> str:
    """Return all of the output, in one line."""
    return " ".join(answer.everything.split())


def rules() -> list[str]:
    """Return what `check` finds, without pending revisions and files that the test has edited."""
    result = json.loads(command("check --no-pending --format json").stdout)["findings"]
    return [finding["rule"] for finding in result if finding["rule"] != "edited-revision"]


def remedies(answer: Answer) -> list[list[str]]:
    """Return the commands of a hint."""
    pattern = re.compile(r"^ +circle-migrate ((?:stamp|downgrade) .+)$", re.MULTILINE)
    result = pattern.findall(answer.stdout + answer.stderr)
    return [shlex.split(line) for line in result]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "body",
    [pytest.param(None, marks=pytest.mark.thorough), pytest.param(BLOCK, marks=pytest.mark.thorough), DRIVER],
    ids=["declared", "block", "driver"],
)
def test_half_undone_revision_is_known_until_it_is_undone(
    shop: Shop, empty_databases: Databases, body: str | None
) -> None:
    if body:
        shop.revision("main", "m2", "m1", "pass", body)
    assert "m2 is half undone, these stay: DROP TABLE a" in fail_to_undo(shop, empty_databases)
    shop.add("main", "m3", "m2", ["CREATE TABLE c ()"], [])
    (written,) = run(rows(empty_databases, "main", f"SELECT run::text FROM {RUNS} WHERE outcome = 'failed'"))
    for line in (
        "upgrade",
        "upgrade main@m2",
        "upgrade --sql",
        "plan",
        "status",
        "check --no-pending",
        "check",
        "wait --timeout 0",
        "downgrade m3",
    ):
        answer = command(line)
        assert answer.status in ({8} if line != "downgrade m3" else {2, 8}), (line, answer)
        if answer.status == 8:
            assert f"run {written[0][:8]} at 2" in words(answer), (line, answer)
            assert "left m2 half undone, these stay: DROP TABLE a" in words(answer), (line, answer)
            assert remedies(answer) == [
                ["downgrade", "main@-1"],
                ["stamp", "main@m1"],
                ["stamp", "main@m2", "--purge"],
            ]
    assert rules() == ["half-applied"]
    assert command("protect -d main").status == 8
    assert command("plan main@m1 --down").status == 0
    shop.add("main", "m2", "m1", CREATE, ["DROP TABLE IF EXISTS a", "DROP TABLE b"], more=DECLARED)
    undone = command("downgrade main@-1 --yes --no-backup")
    assert undone.status == 0, undone
    assert rules() == []
    assert command("upgrade --allow-edited").status == 0
    assert rules() == []


@pytest.mark.parametrize("which", ["main@m1", pytest.param("main@m2", marks=pytest.mark.thorough)])
def test_half_undone_revision_is_settled_by_a_stamp(
    shop: Shop, empty_databases: Databases, which: str
) -> None:
    fail_to_undo(shop, empty_databases)
    refused = command("upgrade")
    assert refused.status == 8, refused
    remedy = next(line for line in remedies(refused) if line[:2] == ["stamp", which])
    run(execute(empty_databases, "main", CREATE[0] if which == "main@m2" else "DROP TABLE b"))
    assert invoke([*remedy, "--yes"]).status == 0
    assert rules() == []
    assert command("upgrade").status == 0
    assert rules() == []


@pytest.mark.thorough
def test_only_its_branch_is_undone_again(shop: Shop, empty_databases: Databases) -> None:
    shop.add("main", "b1", "m1", ["CREATE TABLE branch ()"], ["DROP TABLE branch"])
    assert command("upgrade heads").status == 0
    failed = command("downgrade main@m2@-1 --yes --no-backup")
    assert failed.status == 8, failed
    again, stamp, purge = remedies(command("upgrade heads"))
    assert [stamp, purge] == [["stamp", "main@b1"], ["stamp", "main@b1", "main@m2", "--purge"]]
    shop.add("main", "m2", "m1", CREATE, ["DROP TABLE IF EXISTS a, b"], more=DECLARED)
    assert invoke([*again, "--yes", "--no-backup"]).status == 0
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("b1",)]


@pytest.mark.thorough
def test_downgrade_of_the_other_database_may_run_alone(shop: Shop, empty_databases: Databases) -> None:
    fail_to_undo(shop, empty_databases)
    line = "downgrade credentials@base --yes --no-backup"
    assert command(line).status == 8
    assert command(f"{line} -d credentials").status == 0
    assert command("upgrade credentials@head").status == 8


def test_failure_recalls_what_an_earlier_run_has_committed(shop: Shop, empty_databases: Databases) -> None:
    shop.add(
        "main", "m3", "m2", ["CREATE TABLE c ()", "CREATE TABLE d ()", "SELECT 1 / 0"], [], more=DECLARED
    )
    assert command("upgrade").status == 8
    (first,) = run(rows(empty_databases, "main", f"SELECT run::text FROM {RUNS} WHERE outcome = 'failed'"))
    assert rules() == ["half-applied"]
    status = command("status")
    assert status.status == 0
    assert remedies(status) == [["stamp", "main@m3"], ["stamp", "main@m2", "--purge"]]
    for _ in range(2):
        again = command("upgrade")
        assert again.status == 8
        assert 'relation "c" already exists' in words(again)
        text = "left m3 half applied, these stay: CREATE TABLE c (); CREATE TABLE d ()"
        assert re.search(
            rf"state .* run {first[0][:8]} at [-0-9: ]+ UTC {re.escape(text)} hint", words(again)
        )
        assert "has changed" not in words(again)
    shop.add("main", "m3", "m2", ["CREATE TABLE IF NOT EXISTS c ()", "CREATE TABLE e ()"], [], more=DECLARED)
    repeated = command("upgrade --format json")
    assert repeated.status == 0, repeated
    assert json.loads(repeated.stdout)["notes"] == []
    assert rules() == []


@pytest.mark.thorough
def test_what_attempts_have_committed_is_listed_once(shop: Shop) -> None:
    statements = ["CREATE TABLE IF NOT EXISTS c ()", "CREATE TABLE IF NOT EXISTS d ()", "SELECT 1 / 0"]
    for count in (1, 2, 2):
        shop.add("main", "m3", "m2", [*statements[:count], statements[2]], [], more=DECLARED)
        assert command("upgrade").status == 8
    text = f"these stay: {statements[0]}; {statements[1]} at {Path('migrations')}"
    assert text in words(command("status"))


@pytest.mark.thorough
@pytest.mark.parametrize("helper", [False, True])
def test_own_statement_is_not_listed(shop: Shop, empty_databases: Databases, helper: bool) -> None:
    run(execute(empty_databases, "main", "INSERT INTO t VALUES (1, 1), (2, 1)"))
    body = 'op.create_index("i", "t", ["v"], unique=True, postgresql_concurrently=True)'
    if helper:
        body = 'ensure_index_concurrently(op, "i", "t", ["v"], unique=True)'
    imports = "from circle_migrate.indexes import ensure_index_concurrently"
    shop.revision("main", "m3", "m2", body, "pass", more=DECLARED, imports=imports)
    for _ in range(2):
        answer = command("upgrade")
        assert answer.status == 8, answer
        assert "these stay: the INVALID index public.i" in words(answer)
        assert "DROP INDEX" not in words(answer)
    run(execute(empty_databases, "main", "DELETE FROM t"))
    assert command("upgrade").status == 0
    assert rules() == []


def test_step_that_leaves_nothing_is_not_half_done(shop: Shop, empty_databases: Databases) -> None:
    shop.add("main", "m2", "m1", CREATE, ["SELECT 1 / 0"], more=DECLARED)
    with pytest.raises(MigrationFailed) as caught:
        run(undo(shop, empty_databases))
    assert caught.value.status == 10
    assert rules() == []
    assert command("upgrade --allow-edited").status == 0


@pytest.mark.thorough
def test_killed_step_is_perhaps_half_undone(shop: Shop, empty_databases: Databases) -> None:
    sleep = "SELECT pg_sleep(60) FROM pg_class WHERE relname = 'live'"
    shop.add("main", "m2", "m1", CREATE, ["DROP TABLE a", sleep], more=DECLARED)
    run(execute(empty_databases, "main", "CREATE TABLE live ()"))  # which scratch databases lack
    sleeps = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
    with started(empty_databases, shop.folder, *UNDO.split()):
        run(until(empty_databases, "main", f"{sleeps} AND application_name LIKE 'circle%'"))
        assert rules() == ["schema-changed"]  # an active run is not half done
    run(until(empty_databases, "main", f"SELECT 1 WHERE NOT EXISTS ({sleeps})"))
    for line in ("upgrade", "recover", "upgrade"):
        answer = command(line)
        assert answer.status == (0 if line == "recover" else 8), (line, answer)
        if line != "recover":
            assert "left m2 half undone, what stays was not recorded" in words(answer), answer
    assert command("stamp main@m2 --purge --yes").status == 0
    assert command("upgrade --allow-edited").status == 0
