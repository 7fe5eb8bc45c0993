"""What tests of commands share: the package on a test's databases, and the command in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from circle_migrate.cli.app import app
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import NotConfirmed
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Plan
from tests.schema_catalog import Catalog, catalog
from tests.servers import NAMES, Databases, Server, run

VARIABLES = {"main": "DATABASE_URL", "credentials": "CREDS_DATABASE_URL"}

RUNS, STEPS, PROTECTION = (f"circle_migrate.{name}" for name in ("runs", "steps", "protection"))
"""The package's own tables."""


def environment(databases: Databases) -> dict[str, str]:
    """The environment variables that name a test's databases."""
    return {VARIABLES[name]: url for name, url in databases.urls.items()}


def deployment(databases: Databases, only: str | None = None) -> Deployment:
    """The package's own trees, or those of the current directory's project, on a test's databases."""
    return Deployment(load(environ=environment(databases)), only)


def agree(_plan: Plan) -> None:
    """A confirmation that is always given."""


def decline(_plan: Plan) -> None:
    """A confirmation that is never given."""
    raise NotConfirmed("no")


Versions = dict[str, list[str] | None]


async def versions(databases: Databases) -> Versions:
    """The rows of each version table, sorted; None where there is no such table."""
    rows_by_name: Versions = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                rows_by_name[name] = None
            else:
                rows = await connection.fetch("SELECT version_num FROM alembic_version ORDER BY 1")
                rows_by_name[name] = [row[0] for row in rows]
    return rows_by_name


async def catalogs(databases: Databases) -> dict[str, Catalog]:
    """The catalog of each database; version tables and the package's own journal left out."""
    result = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            kinds = await catalog(connection)
        result[name] = {
            kind: [row for row in rows if not str(row[kind == "others"]).startswith("circle_migrate")]
            for kind, rows in kinds.items()
        }
    return result


async def contents(databases: Databases) -> tuple[Any, Any]:
    """All that a command which changes nothing leaves as it is."""
    return await versions(databases), await catalogs(databases)


async def execute(databases: Databases, name: str, *statements: str) -> None:
    """Statements run on one of the databases."""
    async with databases.connect(name) as connection:
        for statement in statements:
            await connection.execute(statement)


@pytest.fixture(scope="session")
def head_template(server: Server) -> Iterator[Databases]:
    """Both databases at head; nobody connects to them, so that they can be copied."""
    template = Databases(server)
    run(template.create())
    run(upgrade(deployment(template)))
    yield template
    run(template.drop())


@pytest.fixture
def project_folder(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The current directory, to make a project in; modules of projects are forgotten before and after."""
    temporary = tmp_path_factory.getbasetemp()
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if temporary not in Path(entry).parents])
    _forget(temporary)
    yield workdir
    _forget(temporary)


_elsewhere: dict[str, ModuleType] = {}
"""Modules outside of every project: looking at two thousand of them twice takes longer than some tests."""


def _forget(folder: Path) -> None:
    below = f"{folder}{os.sep}"
    places = {
        name: [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
        for name, module in list(sys.modules.items())
        if _elsewhere.get(name) is not module
    }
    for name, files in places.items():
        if any(str(file).startswith(below) for file in files):
            del sys.modules[name]
        # The path of a namespace package can change.
        elif isinstance(getattr(sys.modules[name], "__path__", []), list):
            _elsewhere[name] = sys.modules[name]


@dataclass(frozen=True)
class Answer:
    """What a command left behind in its process: exit status, and both streams."""

    status: int
    stdout: str
    stderr: str

    @property
    def everything(self) -> str:
        """Whatever a reader may see."""
        return self.stdout + self.stderr


def invoke(arguments: Sequence[str]) -> Answer:
    """`circle-migrate` with arguments in this process: its environment, folder and a closed stdin."""
    result = CliRunner().invoke(app, list(arguments), prog_name="circle-migrate", catch_exceptions=False)
    return Answer(result.exit_code, result.stdout, result.stderr)
