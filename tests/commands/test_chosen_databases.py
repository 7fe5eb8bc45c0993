"""The databases that commands work on: those that are configured, and those that `--database` selects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployments import invoke, project_folder, versions
from tests.faults.shop import Shop
from tests.servers import Databases, run

__all__ = ["project_folder"]

_VARIABLES = {"main": "DATABASE_URL", "credentials": "CREDS_DATABASE_URL"}


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
        assert f"{other} is not configured" in answer.stderr, (line, answer)
        assert f"{_VARIABLES[other]}=postgresql://" in answer.stderr, (line, answer)
