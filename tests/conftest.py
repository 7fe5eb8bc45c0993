"""Fixtures for all tests: a scrubbed environment, a real PostgreSQL, fresh databases, the command itself."""

from __future__ import annotations

import gc
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings

from tests import servers
from tests.deployments import head_template, project_folder
from tests.fork_server import fork_server
from tests.servers import Databases, Server

__all__ = ["head_template", "project_folder"]

# What must not leak into a test from the developer's shell or the CI job.
_SCRUBBED = re.compile(
    r"(DATABASE_URL|CREDS_.*|CIRCLE_MIGRATE_.*|PG.*|NO_COLOR|FORCE_COLOR|CLICOLOR.*|COLUMNS|LINES)"
)
# A hundred processes that each compile the whole package take longer than all they do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
_COMMAND_SECONDS = 60

# How long an example takes says more about the machine than about the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


class Cli(Protocol):
    """Runs `circle-migrate` with arguments as a real process."""

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str | None = None,  # noqa: A002 -- as in subprocess.run
    ) -> subprocess.CompletedProcess[str]: ...


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what collecting made: it costs a tenth of the processor otherwise."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def pytest_report_header() -> str:
    """Which server the tests run on."""
    return f"PostgreSQL: {servers.choose().split('://')[0]} (force one with {servers.VARIABLE})"


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch, _homes: Path, _kept: Path) -> None:
    for name in list(os.environ):
        if _SCRUBBED.fullmatch(name):
            monkeypatch.delenv(name)
    home = _homes / secrets.token_hex(6)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(_kept))


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="session")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's cache folder: read trees and built states go by content, so that tests may share them."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _forking() -> Iterator[None]:
    with fork_server():
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL of this test process alone, gone when the session ends."""
    server = servers.start(servers.choose())
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def admin_url(server: Server) -> str:
    """The maintenance database of the server."""
    return server.admin_url


@pytest.fixture
def create_databases(server: Server) -> Iterator[Callable[..., Databases]]:
    """Makes pairs of databases, empty or from `template=` another pair; all are dropped after the test."""
    made: list[Databases] = []

    def create(template: Databases | None = None) -> Databases:
        databases = Databases(server)
        made.append(databases)
        servers.run(databases.create(template))
        return databases

    yield create
    for databases in made:
        servers.run(databases.drop())


@pytest.fixture
def empty_databases(create_databases: Callable[..., Databases]) -> Databases:
    """A main and a credentials database with nothing in them."""
    return create_databases()


@pytest.fixture
def cli(workdir: Path) -> Cli:
    """The command as users run it: a process of its own, without a terminal, in an empty folder."""

    def run(
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str | None = None,  # noqa: A002 -- as in subprocess.run
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "circle_migrate", *arguments],
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            cwd=cwd or workdir,
            env={**os.environ, "PYTHONPATH": servers.IMPORT_PATH, **(env or {})},
            timeout=_COMMAND_SECONDS,
        )

    return run


@pytest.fixture
def migrated_databases(create_databases: Callable[..., Databases], head_template: Databases) -> Databases:
    """A main and a credentials database at head, without rows."""
    return create_databases(head_template)
