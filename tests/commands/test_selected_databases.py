"""The databases that commands work on: those that are configured, and those that `--database` selects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deployments import environment, invoke, project_folder, versions
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]

_VARIABLES = {"main": "DATABASE_URL", "credentials": "CREDS_DATABASE_URL"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "other", "url"), [("main", "credentials", ""), ("credentials", "main", None)]
)
def test_project_with_one_database(
    project_folder: Path,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    other: str,
    url: str | None,
) -> None:
    shop = Shop(project_folder)
    shop.write_settings(f'[tool.circle-migrate.databases.{name}]\nrevisions = "migrations/{name}"\n')
    shop.add(name, "r1", None, ["CREATE TABLE t (id int)"], ["DROP TABLE t"])
    monkeypatch.setenv(_VARIABLES[name], empty_databases.urls[name])
    if url is not None:
        monkeypatch.setenv(_VARIABLES[other], url)
    words = "upgrade --dry-run; upgrade --atomic; status; check; wait --timeout 5; consistency; log; history"
    words += "; graph; backup saved; config show; snapshot --output schema.json; diff schema.json live"
    words += "; downgrade base --yes"
    for line in words.split("; "):
        answer = invoke(line.split())
        assert answer.status == 0, (line, answer)
        assert f"{other} " not in answer.stdout, (line, answer)
    assert run(versions(empty_databases)) == {name: [], other: None}
    for line in (f"upgrade -d {other}", f"restore saved --replace --accept-loss {other}"):
        answer = invoke(line.split())
        assert answer.status == 2, (line, answer)
        assert f"no database '{other}'" in answer.stderr, (line, answer)
        assert f"databases: {name}" in answer.stderr, (line, answer)


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project with a revision for each database."""
    for variable, url in environment(empty_databases).items():
        monkeypatch.setenv(variable, url)
    shop = Shop(project_folder)
    for name, key in (("main", "m1"), ("credentials", "c1")):
        shop.add(name, key, None, [f"CREATE TABLE {key} (id int)"], [f"DROP TABLE {key}"])
    return shop


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["credentials", "main"], ["m1", "c1"]),
        (["main", "credentials", "main"], ["m1", "c1"]),
        (["credentials", "credentials"], ["c1"]),
    ],
)
def test_database_option_is_repeatable(
    shop: Shop, empty_databases: Databases, names: list[str], keys: list[str]
) -> None:
    options = [word for name in names for word in ("-d", name)]
    answer = invoke(["upgrade", "--format", "json", *options])
    assert [step["revision"] for step in json.loads(answer.stdout)["applied"]] == keys, answer
    at = {"main": ["m1"] if "m1" in keys else None, "credentials": ["c1"]}
    assert run(versions(empty_databases)) == at
    assert invoke(["heads", *options]).stdout.count(" (head) ") == len(keys)


def test_one_of_several_names_is_unknown(shop: Shop, empty_databases: Databases) -> None:
    answer = invoke(["upgrade", "-d", "main", "-d", "mian"])
    assert answer.status == 2
    assert "there is no database 'mian'" in answer.stderr
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}
    for line in ("unprotect", "dev psql", "revision -m text"):
        answer = invoke([*line.split(), "-d", "main", "-d", "credentials"])
        assert answer.status == 2, (line, answer)
