"""A project names its databases: any number of them, in the order of the file, without the package's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.deployments import invoke
from tests.servers import Server, run

NAMES = ("orders", "billing-api", "audit")
TABLES = {name: f"t_{name.partition('-')[0]}" for name in NAMES}
HEADS = {name: f"{TABLES[name]}_1" for name in NAMES}
SETTINGS = """
[tool.circle-migrate.databases.orders]
revisions = "orders"
[tool.circle-migrate.databases.billing-api]
revisions = "billing-api"
url-env = "BILLING_URL"
[tool.circle-migrate.databases.audit]
revisions = "audit"
"""
VARIABLES = {"orders": "ORDERS_DATABASE_URL", "billing-api": "BILLING_URL", "audit": "AUDIT_DATABASE_URL"}


def write_revision(folder: Path, name: str, upgrade: str, more: str = "") -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "first.py").write_text(
        f'"""First of {name}"""\nfrom alembic import op\n'
        f'revision = "{HEADS[name]}"\ndown_revision = None\n{more}\n'
        f'def upgrade():\n    op.execute("{upgrade}")\n'
        f'def downgrade():\n    op.execute("DROP TABLE {TABLES[name]}")\n',
        encoding="utf-8",
    )


@pytest.fixture
def urls(server: Server, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The URLs of three empty databases, which the environment names, and a revision for each."""

    async def execute(*statements: str) -> None:
        connection = await asyncpg.connect(server.admin_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    names = {name: f"named_{table}_{id(workdir)}" for name, table in TABLES.items()}
    run(execute(*(f"CREATE DATABASE {name} TEMPLATE {server.template}" for name in names.values())))
    urls = {name: server.url(database) for name, database in names.items()}
    for name, url in urls.items():
        monkeypatch.setenv(VARIABLES[name], url)
        write_revision(workdir, name, f"CREATE TABLE {TABLES[name]} (id int)")
    requirements = 'requires = ("orders@t_orders_1", "billing-api@t_billing_1")'
    write_revision(workdir, "audit", "CREATE TABLE t_audit (id int)", requirements)
    (workdir / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    yield urls
    run(execute(*(f"DROP DATABASE {name} WITH (FORCE)" for name in names.values())))


def read(*arguments: str, status: int = 0) -> Any:
    answer = invoke([*arguments, "--format", "json"])
    assert answer.status == status, answer.everything
    return json.loads(answer.stdout)


def positions() -> dict[str, list[str]]:
    return {name: item["current"] for name, item in read("current")["databases"].items()}


AT_HEAD = {name: [HEADS[name]] for name in NAMES}
EMPTY: dict[str, list[str]] = {name: [] for name in NAMES}


@pytest.mark.thorough
@pytest.mark.usefixtures("urls")
@pytest.mark.parametrize("mode", [pytest.param("--serial", marks=pytest.mark.thorough), "--atomic"])
def test_three_databases_go_to_head_and_back(mode: str) -> None:
    assert [*read("heads")["databases"]] == [*NAMES]
    assert [segment["databases"] for segment in read("plan", mode)["plan"]["segments"]] == [[*NAMES]]
    assert invoke(["upgrade", mode]).status == 0
    assert positions() == AT_HEAD
    assert invoke(["check"]).status == 0
    refused = invoke(["downgrade", "orders@base", "-y", mode])
    assert (refused.status, "audit@t_audit_1" in refused.stderr) == (5, True)
    assert invoke(["downgrade", "orders@base", "-y", "--cascade", "--no-backup", mode]).status == 0
    assert positions() == AT_HEAD | {"orders": [], "audit": []}
    assert invoke(["downgrade", "base", "-y", "--no-backup", mode]).status == 0
    assert positions() == EMPTY


@pytest.mark.usefixtures("urls")
def test_all_or_none_where_the_last_cannot_be_prepared(workdir: Path) -> None:
    write_revision(workdir, "audit", "CREATE TEMPORARY TABLE t_audit (id int)")
    answer = invoke(["upgrade", "--atomic"])
    assert answer.status == 10
    assert "temporary tables and LISTEN prevent PREPARE TRANSACTION" in answer.stderr
    assert positions() == EMPTY


def test_one_of_them_asks_for_no_other_url(urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable)
    assert invoke(["upgrade", "-d", "orders"]).status == 2
    assert invoke(["upgrade", "-d", "orders", "--url", f"orders={urls['orders']}"]).status == 0
    flags = [f"--url={name}={urls[name]}" for name in ("orders", "billing-api")]
    assert invoke(["upgrade", "-d", "orders", "-d", "billing-api", *flags]).status == 0
    for name in ("orders", "billing-api"):
        answer = read("current", "-d", name, "--url", f"{name}={urls[name]}")
        assert answer["databases"][name]["current"] == [HEADS[name]]


@pytest.mark.usefixtures("urls")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "nope=postgresql://x"], "nope"),
        (["--url", "postgresql://x"], "NAME=URL"),
        (["--database-url", "postgresql://x"], "--database-url"),
        (["-d", "main"], "orders, billing-api, audit"),
    ],
)
def test_unknown_database_is_refused_with_the_names(arguments: list[str], words: str) -> None:
    answer = invoke(["status", *arguments])
    assert answer.status == 2
    assert words in answer.stderr
    assert "billing-api" in answer.stderr


@pytest.mark.usefixtures("urls")
def test_comparison_with_models_says_where_there_are_none() -> None:
    assert invoke(["upgrade"]).status == 0
    answer = invoke(["diff", "models", "revisions"])
    assert answer.status == 2
    assert "orders has no models" in answer.everything


@pytest.mark.parametrize("text", ["alembic.ini", "alembic.ini:audit", None])
def test_revisions_are_where_alembic_ini_says(workdir: Path, text: str | None) -> None:
    write_revision(workdir, "audit", "SELECT 1")
    ini = "[alembic]\nscript_location = elsewhere\n[audit]\nscript_location = %(here)s/audit\n"
    (workdir / "alembic.ini").write_text(ini, encoding="utf-8")
    line = f'revisions = "{text}"' if text else ""
    (workdir / "pyproject.toml").write_text(f"[tool.circle-migrate.databases.audit]\n{line}\n")
    heads = read("heads")["databases"]["audit"]
    assert [revision["revision"] for revision in heads] == [HEADS["audit"]]
