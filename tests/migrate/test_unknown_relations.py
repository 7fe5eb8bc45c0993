"""Databases of other applications: the first upgrade does not fill them unasked."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from circle_migrate.migrate.unknown_relations import indistinct_databases
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
    shop.add("credentials", "c1", None, [table], ['DROP TABLE "Old Secrets"'])
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


def test_protection_and_stamps_do_not_make_a_database_ours_unnoticed(
    shop: Shop, empty_databases: Databases
) -> None:
    for name in ("main", "credentials"):
        run(execute(empty_databases, name, "CREATE TABLE orders ()"))
    assert invoke(["protect"]).status == 0
    answer = invoke(["upgrade"])
    assert answer.status == 5, answer
    found = [f"the database {empty_databases.names[name]} has relations" for name in ("main", "credentials")]
    assert all(text in answer.stderr for text in found), answer
    answer = invoke(["stamp", "main@m1", "--yes", "--override-protection", "main"])
    assert (answer.status, "public.orders" in answer.stderr) == (0, True), answer
    assert "public.orders" in invoke(["stamp", "credentials@c1", "--dry-run"]).stdout
    assert invoke(["upgrade", "-d", "main"]).status == 0
    assert invoke(["init"]).status == 5
    assert invoke(["init", "--into-existing"]).status == 0
    assert run(versions(empty_databases)) == {"main": ["m1"], "credentials": ["c1"]}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("settings", "statements", "status"),
    [
        ({"VERSION_TABLE_SCHEMA": "meta"}, ["CREATE TABLE public.alembic_version (version_num text)"], 5),
        ({"VERSION_TABLE_SCHEMA": "meta"}, ["CREATE TABLE meta.alembic_version (version_num text)"], 0),
        ({"VERSION_TABLE": "versions"}, ["CREATE TABLE alembic_version (version_num text)"], 5),
        ({"SEARCH_PATH": "meta, public"}, ["CREATE TABLE meta.alembic_version (version_num text)"], 0),
    ],
)
def test_version_table_of_another_schema_is_foreign(
    shop: Shop,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    statements: list[str],
    status: int,
) -> None:
    run(execute(empty_databases, "main", "CREATE SCHEMA meta", *statements))
    for name, value in settings.items():
        monkeypatch.setenv(f"CIRCLE_MIGRATE_MAIN_{name}", value)
    answer = invoke(["upgrade", "--dry-run"])
    assert (answer.status, "public.alembic_version" in answer.stderr) == (status, bool(status)), answer


def test_relations_of_a_tree_that_begins_with_existing_ones_are_its_own(
    shop: Shop, empty_databases: Databases
) -> None:
    """A squashed tree begins with what a dump has created: what its files name is not foreign."""
    shop.add("main", "m1", None, ["ALTER TABLE legacy ADD id int"], ["ALTER TABLE legacy DROP COLUMN id"])
    run(execute(empty_databases, "main", "CREATE TABLE legacy ()"))
    assert invoke(["upgrade", "--dry-run"]).status == 0
    run(execute(empty_databases, "main", "CREATE TABLE archive ()"))
    answer = invoke(["upgrade", "--dry-run"])
    assert (answer.status, "names: public.archive" in " ".join(answer.stderr.split())) == (5, True), answer
    assert invoke(["upgrade", "--into-existing"]).status == 0


@pytest.mark.thorough
def test_new_databases_are_named_as_indistinct_until_the_first_run(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = dict(zip(empty_databases.urls, reversed(empty_databases.urls.values()), strict=True))
    for line in ("plan", "upgrade --dry-run", "upgrade"):
        answer = invoke(line.split())
        assert (answer.status, "main and credentials are new" in answer.stdout) == (0, True), (line, answer)
        assert all(name in answer.stdout for name in empty_databases.names.values()), line
    assert "are new" not in invoke(["plan", "--down", "base"]).stdout
    assert invoke(["downgrade", "base", "--yes", "--no-backup"]).status == 0
    assert "are new" not in invoke(["upgrade", "--dry-run"]).everything
    monkeypatch.setenv("DATABASE_URL", swapped["main"])
    monkeypatch.setenv("CREDS_DATABASE_URL", swapped["credentials"])
    for line in ("plan", "upgrade", "upgrade -d credentials"):
        answer = invoke(line.split())
        assert (answer.status, "was migrated as" in answer.stderr) == (5, True), (line, answer)
    assert run(versions(empty_databases)) == {"main": [], "credentials": []}
    shop.write_settings('[tool.circle-migrate.databases.renamed]\nrevisions = "migrations/main"\n')
    monkeypatch.setenv("RENAMED_DATABASE_URL", empty_databases.urls["main"])
    (statement,) = re.findall("UPDATE .*;", invoke(["upgrade"]).stderr)
    run(execute(empty_databases, "main", statement))
    assert invoke(["upgrade"]).status == 0
    assert "renamed: done, 1 step, " in invoke(["log"]).stdout


def test_the_note_on_three_new_databases_is_a_list() -> None:
    names = ("a", "b", "c")
    address = SimpleNamespace(display=lambda: "URL")
    deployment: Any = SimpleNamespace(
        settings=SimpleNamespace(embedded=False),
        databases=dict.fromkeys(names, SimpleNamespace(address=address)),
    )
    states: Any = dict.fromkeys(names, SimpleNamespace(current=(), journal_of=None))
    plan: Any = SimpleNamespace(databases=names)
    (note,) = indistinct_databases(deployment, states, plan)
    assert note.startswith("a, b and c are new, so it cannot be known")
