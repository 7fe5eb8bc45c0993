"""Version tables that were emptied, set back or dropped: no revision is applied a second time."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.deployments import RUNS, Answer, environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A tree with two branches at its heads; m2 and b1 must not run twice."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id text)"], ["DROP TABLE t"])
    for key in ("m2", "b1"):
        insert = f"INSERT INTO t VALUES ('{key}')"
        shop.add("main", key, "m1", [insert], [f"DELETE FROM t WHERE id = '{key}'"])
    shop.add("credentials", "c1", None, ["CREATE TABLE s (id int)"], ["DROP TABLE s"])
    assert invoke(["upgrade", "heads"]).status == 0
    return shop


def contents(databases: Databases) -> list[str]:
    """Return what m2 and b1 have written."""
    return [key for (key,) in run(rows(databases, "main", "SELECT id FROM t ORDER BY 1"))]


def stamps(answer: Answer) -> list[list[str]]:
    """Return the arguments of the two stamps in the hint."""
    return [shlex.split(words) for words in re.findall(r"(?m)^ +circle-migrate (stamp .+)$", answer.stderr)]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        ("DELETE FROM alembic_version", {"m1", "m2", "b1"}),
        ("DROP TABLE alembic_version", {"m1", "m2", "b1"}),
        ("DELETE FROM alembic_version WHERE version_num = 'b1'", {"b1"}),
        ("DELETE FROM alembic_version; INSERT INTO alembic_version VALUES ('m1')", {"m2", "b1"}),
    ],
)
def test_version_table_that_lacks_applied_revisions(
    shop: Shop, empty_databases: Databases, damage: str, missing: set[str]
) -> None:
    run(execute(empty_databases, "main", damage))
    commands = [
        "status",
        "check --no-pending",
        "check",
        "wait --timeout 0",
        "plan heads",
        "upgrade heads",
        "upgrade heads --sql",
        "protect",
    ]
    for line in (*commands, "downgrade main@base", "downgrade main@m1", "plan main@m1 --down"):
        answer = invoke(line.split())
        assert answer.status == 8, (line, answer)
        assert all(key in answer.everything for key in missing), (line, answer)
        assert "circle-migrate upgrade" not in answer.everything, (line, answer)
    assert contents(empty_databases) == ["b1", "m2"]
    by_journal, _ = stamps(invoke(["upgrade", "heads"]))
    assert invoke([*by_journal, "--yes"]).status == 0
    assert invoke(["status"]).status == 0
    assert invoke(["upgrade", "heads"]).status == 0
    assert contents(empty_databases) == ["b1", "m2"]


@pytest.mark.thorough
def test_version_table_can_be_declared_right(shop: Shop, empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", "DELETE FROM alembic_version WHERE version_num = 'b1'"))
    run(execute(empty_databases, "main", "DELETE FROM t WHERE id = 'b1'"))
    assert invoke(["downgrade", "main@base", "--yes", "--no-backup", "--accept-loss", "main.t"]).status == 8
    _, by_version_table = stamps(invoke(["upgrade", "heads"]))
    assert by_version_table[-1] == "--purge"
    assert invoke([*by_version_table, "--yes"]).status == 0
    assert invoke(["upgrade", "heads"]).status == 0
    assert contents(empty_databases) == ["b1", "m2"]


@pytest.mark.thorough
def test_stamped_revisions_count_as_applied(shop: Shop, empty_databases: Databases) -> None:
    assert invoke(["stamp", "main@m1", "--yes"]).status == 0
    assert invoke(["stamp", "main@m2", "--yes"]).status == 0
    run(execute(empty_databases, "main", "DELETE FROM alembic_version"))
    answer = invoke(["upgrade", "heads"])
    assert (answer.status, "m1, m2;" in answer.stderr) == (8, True), answer


@pytest.mark.thorough
def test_version_table_may_be_ahead_of_the_journal(shop: Shop, empty_databases: Databases) -> None:
    """Plain Alembic writes no journal."""
    shop.add("main", "m3", "m2", ["INSERT INTO t VALUES ('m3')"], [])
    ahead = "UPDATE alembic_version SET version_num = 'm3' WHERE version_num = 'm2'"
    run(execute(empty_databases, "main", "INSERT INTO t VALUES ('m3')", ahead))
    assert invoke(["status"]).status == 0
    shop.add("main", "m4", "m3", ["INSERT INTO t VALUES ('m4')"], [])
    assert invoke(["upgrade", "heads"]).status == 0
    assert contents(empty_databases) == ["b1", "m2", "m3", "m4"]


def test_database_without_tables_is_begun_again(shop: Shop, empty_databases: Databases) -> None:
    run(execute(empty_databases, "main", "DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    assert invoke(["status"]).status == 0
    assert invoke(["upgrade", "heads"]).status == 0
    assert contents(empty_databases) == ["b1", "m2"]
    assert len(run(rows(empty_databases, "main", f"SELECT 1 FROM {RUNS}"))) == 2
