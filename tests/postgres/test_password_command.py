"""`password-command`: the password of each connection, in every command, and in no output."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from circle_migrate.core import redaction
from circle_migrate.postgres import password_command
from circle_migrate.postgres.scratch import pool
from tests.deployments import Answer, invoke, project_folder
from tests.faults.shop import Shop
from tests.servers import any_major, run, start_binaries

__all__ = ["project_folder"]

PASSWORD = "tok3n:%2F-sEcret"
# The command that prints the password and notes that it was run.
SCRIPT = f"""#!/bin/sh
echo "$PGUSER@$PGHOST:$PGPORT/$PGDATABASE" >> runs
echo '{PASSWORD}'
"""
SETTINGS = """
[tool.circle-migrate]
scratch-on-target = true
[tool.circle-migrate.databases.main]
revisions = "migrations/main"
driver = "{driver}"
password-command = {command}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The maintenance database of a server that asks everybody but its superuser for a password."""
    hba = "local all postgres trust\nlocal all all scram-sha-256\n"
    with start_binaries(any_major(), hba=hba) as (_, url):
        run(execute(url, f"CREATE ROLE app LOGIN CREATEDB PASSWORD '{PASSWORD}'"))
        yield url


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@dataclass
class Project:
    """A project on an empty database of the role."""

    shop: Shop
    name: str

    def write(self, command: str = '["./token"]', driver: str = "asyncpg") -> None:
        self.shop.write_settings(SETTINGS.format(driver=driver, command=command))

    def call(self, line: str, status: int = 0) -> Answer:
        """Run a command, whose output has no password."""
        answer = invoke(line.split())
        assert answer.status == status, answer
        assert PASSWORD not in answer.everything
        return answer

    @property
    def runs(self) -> list[str]:
        """What each run of the command has noted."""
        file = self.shop.folder / "runs"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture
def project(url: str, project_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setattr(redaction, "_secrets", set())
    name = f"db_{secrets.token_hex(4)}"
    run(execute(url, f"CREATE DATABASE {name} OWNER app"))
    monkeypatch.setenv("DATABASE_URL", url.replace("postgres@/postgres", f"app@/{name}"))
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)"], ["DROP TABLE t"])
    script = shop.write("token", SCRIPT)
    script.chmod(0o755)
    project = Project(shop, name)
    project.write()
    yield project
    run(execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.mark.thorough
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_every_connection_gets_a_password(url: str, project: Project, driver: str) -> None:
    pytest.importorskip(driver, reason="the driver is not installed")
    project.write('"exec ./token"', driver)
    run(execute(url, f"DROP DATABASE {project.name}"))
    project.call("init")
    assert len(project.runs) > 2
    assert {line.partition("@")[0] for line in project.runs} == {"app"}
    assert {line.rpartition(":")[2].partition("/")[0] for line in project.runs} == {"5432"}
    for line in ("status", "check", "current -v", "log", "wait --timeout 5", "diff", "config show"):
        before = len(project.runs)
        project.call(line)
        assert (len(project.runs) > before) == (line != "config show"), line
    assert PASSWORD not in os.environ.values()


@pytest.mark.thorough
def test_programs_and_scratch_databases_get_a_password(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_embedded", lambda _deployment: [])  # scratch databases are on the same server
    project.call("upgrade --safety require")
    project.call("backup saved")
    (manifest,) = (project.shop.folder / "saved").glob("*/manifest.json")
    project.call(f"restore {manifest} --replace --accept-loss main")
    project.call("downgrade base --yes --accept-loss main.t --no-backup")
    files = [path for path in project.shop.folder.rglob("*") if path.is_file() and path.name != "token"]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ('["false"]', ["the command of password-command in ", "main] failed", "exit status 1", "hand in"]),
        (f'"echo {PASSWORD}; echo bad {PASSWORD} >&2; exit 3"', ["exit status 3", "bad ***"]),
        ('["./missing", "x"]', ["cannot be run", "./missing: No such file", "./missing x"]),
        ('"kill -9 $$"', ["ended by signal 9"]),
        ('["true"]', ["printed no password"]),
        ('"echo tok3n-one; echo tok3n-two"', ["printed no text of one line"]),
        ("['printf', 'a\\377\\n']", ["printed no text of one line"]),
        ('"echo wr0ng-password"', ["does not accept this role or password", "28P01", "prints a password"]),
    ],
)
def test_command_that_fails(project: Project, command: str, words: list[str]) -> None:
    project.write(command)
    answer = project.call("status", 2)
    for text in (*words, "main: "):
        assert text in answer.everything, (text, answer)
    for secret in ("tok3n-one", "wr0ng-password: "):
        assert secret not in answer.everything


def test_command_that_fails_after_the_last_commit(project: Project) -> None:
    project.shop.revision("main", "m2", "m1", 'import os\nos.remove("token")', "pass")
    answer = project.call("upgrade --safety off")
    assert "everything was committed; the tables cannot be listed: main: the command of" in answer.stdout


def test_command_that_does_not_end(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_command, "MAX_SECONDS", 0.3)
    project.write('"sleep 30 & echo $! > pid; sleep 30"')
    started = time.monotonic()
    answer = project.call("upgrade", 2)
    assert "took longer than 0.3 s" in answer.everything
    assert time.monotonic() - started < 10
    pid = int((project.shop.folder / "pid").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
