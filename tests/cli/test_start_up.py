"""The packages that a command imports, which decide its start-up time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments import environment
from tests.servers import Databases

_ROOT = Path(__file__).parent.parent.parent
_API = {"fastapi", "starlette", "uvicorn", "prometheus_client", "jinja2", "jwt", "pwdlib"}
_SLOW = {"alembic", "sqlalchemy", "mako", *_API}
_SETTINGS = {"pydantic_settings", "dotenv"}
_PYDANTIC = _SETTINGS | {"pydantic", "pydantic_core"}

# Runs the command as its console script does, then writes the imported modules to a file.
_PROGRAM = """
import atexit, json, os, pathlib, sys
from circle_migrate.__main__ import main

atexit.register(lambda: pathlib.Path(os.environ["LOADED"]).write_text(json.dumps(sorted(sys.modules))))
main()
"""


def loaded(workdir: Path, arguments: list[str], env: dict[str, str] | None = None) -> set[str]:
    """Return the modules that a successful command has imported."""
    report = workdir / "loaded.json"
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        cwd=workdir,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "LOADED": str(report), **(env or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(report.read_text()))


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--version"], _SLOW | _PYDANTIC | {"asyncpg", "asyncio", "rich"}),
        (["--help"], _SLOW | _PYDANTIC | {"asyncpg", "asyncio", "rich"}),
        (["upgrade", "--help"], _SLOW | _SETTINGS | {"asyncpg", "rich"}),
        pytest.param(
            ["help", "exit-codes"], _SLOW | _SETTINGS | {"asyncpg", "rich"}, marks=pytest.mark.thorough
        ),
        (["config", "show"], _SLOW | {"asyncpg"}),
        (["heads"], _SLOW | {"asyncpg"}),
        pytest.param(["history"], _SLOW | {"asyncpg"}, marks=pytest.mark.thorough),
        pytest.param(["graph", "--as", "dot"], _SLOW | {"asyncpg"}, marks=pytest.mark.thorough),
        (["serve", "--help"], _SLOW | _SETTINGS | {"asyncpg", "rich"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_without_databases_loads_only_what_it_needs(
    workdir: Path, arguments: list[str], unwanted: set[str]
) -> None:
    assert loaded(workdir, arguments) & unwanted == set()


@pytest.mark.parametrize("words", ["circle-migrate upg", "circle-migrate upgrade --dry"])
def test_completion_of_commands_and_options_reads_no_settings(workdir: Path, words: str) -> None:
    env = {"_CIRCLE_MIGRATE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    names = loaded(workdir, [], env | {"COMP_CWORD": str(words.count(" "))})
    assert names & (_SLOW | _SETTINGS | {"asyncpg"}) == set()


def test_comparing_with_a_snapshot_loads_no_alembic(workdir: Path, empty_databases: Databases) -> None:
    loaded(workdir, ["snapshot", "-o", "before"], environment(empty_databases))
    names = loaded(workdir, ["diff", "before", "live"], environment(empty_databases))
    assert names & _SLOW == set()


@pytest.mark.parametrize("command", ["current", "upgrade", "status", "check", "wait"])
def test_command_with_nothing_to_do_loads_no_alembic(
    workdir: Path, migrated_databases: Databases, command: str
) -> None:
    names = loaded(workdir, [command], environment(migrated_databases))
    assert "asyncpg" in names
    others = {"circle_migrate.safety.hazards.hazard", "circle_migrate.commands.history"}
    unwanted = _SLOW | {"rich"} | (others if command != "current" else set())
    assert names & unwanted == set()


def test_upgrade_of_an_empty_database_loads_only_what_it_needs(
    workdir: Path, empty_databases: Databases
) -> None:
    names = loaded(workdir, ["upgrade"], environment(empty_databases))
    assert "sqlalchemy" in names
    unwanted = {"sqlalchemy.orm", "pygments", "circle_migrate.safety.live_database"}
    assert names & unwanted == set()


def test_command_can_be_profiled() -> None:
    command = [sys.executable, "-m", "cProfile", "-m", "circle_migrate", "--version"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    assert "function calls" in done.stderr
