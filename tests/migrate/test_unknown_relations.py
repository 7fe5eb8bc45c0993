"""Databases of other applications: the first upgrade does not fill them unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder, versions
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project with pending revisions in both databases."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id int)"], ["DROP TABLE t"])
    table = 'CREATE TABLE IF NOT EXISTS "Old Secrets" (id serial) PARTITION BY RANGE (id)'
    shop.add("credentials", "c1", None, [table], ["DROP TABLE t"])
    return shop


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("database", "statements", "shown"),
    [
        ("main", ["CREATE TABLE orders (id serial)"], "public.orders"),
        ("main", ["CREATE SCHEMA sales", "CREATE VIEW sales.monthly AS SELECT 1"], "sales.monthly"),
        ("credentials", ["CREATE SEQUENCE numbers"], "public.numbers"),
        ("credentials", ['CREATE MATERIALIZED VIEW "Older Secrets" AS SELECT 1'], "public.Older Secrets"),
        ("main", [f"CREATE TABLE other_{n} (t int)" for n in range(7)], "public.other_4 and 2 more"),
        (
            "main",
            [
                "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)",
                "CREATE TABLE tt (id int)",
            ],
            "public.tt",
        ),
    ],
)
def test_foreign_database_is_not_filled_unasked(
    shop: Shop, empty_databases: Databases, database: str, statements: list[str], shown: str
) -> None:
    run(execute(empty_databases, database, *statements))
    before = run(versions(empty_databases))
    for line in ("upgrade", "upgrade --dry-run", "plan", "init"):
        answer = invoke(line.split())
        assert answer.status == 5, (line, answer)
        told = " ".join(answer.stderr.split())
        assert shown in told, (line, answer)
        assert "_id_seq" not in told, (line, answer)
        assert "--into-existing" in told, (line, answer)
        assert f"circle-migrate stamp {database}@" in told, (line, answer)
    assert run(versions(empty_databases)) == before
    assert invoke(["plan", "--into-existing"]).status == 0
    assert invoke(["upgrade", "--into-existing"]).status == 0
    shop.add("main", "m2", "m1", ["CREATE TABLE u (id int)"], ["DROP TABLE u"])
    assert invoke(["upgrade"]).status == 0
    assert run(versions(empty_databases)) == {"main": ["m2"], "credentials": ["c1"]}


def test_relations_of_the_tree_and_of_extensions_are_not_foreign(
    shop: Shop, empty_databases: Databases
) -> None:
    run(
        execute(
            empty_databases,
            "credentials",
            'CREATE TABLE "Old Secrets" (id serial) PARTITION BY RANGE (id)',
            'CREATE TABLE part PARTITION OF "Old Secrets" DEFAULT',
        )
    )
    run(
        execute(empty_databases, "main", "CREATE TABLE orders ()", "ALTER EXTENSION plpgsql ADD TABLE orders")
    )
    answer = invoke(["upgrade"])
    assert answer.status == 0, answer


@pytest.mark.thorough
def test_database_that_was_migrated_before_is_not_foreign(shop: Shop, empty_databases: Databases) -> None:
    assert invoke(["upgrade"]).status == 0
    assert invoke(["downgrade", "main@base", "--yes", "--no-backup"]).status == 0
    run(execute(empty_databases, "main", "CREATE TABLE orders (id int)"))
    answer = invoke(["upgrade"])
    assert answer.status == 0, answer
