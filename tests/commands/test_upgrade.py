"""upgrade: what it applies, compared with Alembic, also to databases of the old script."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import zip_longest
from pathlib import Path

import asyncpg
import pytest

import circle_migrate
from circle_migrate.commands.history import current
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import (
    ExitCode,
)
from circle_migrate.postgres.database import Database
from circle_migrate.safety.gate import SafetyGate
from tests import alembic_driver, old_script
from tests.commands.shortcuts import CREDENTIALS, HEADS, MAIN, down, up
from tests.deployments import (
    catalogs,
    contents,
    deployment,
    versions,
)
from tests.servers import NAMES, Databases, run

# The old script's databases were migrated together or one behind the other.
STATES = list(zip_longest(*old_script.REVISIONS.values()))


def test_upgrade_builds_what_alembic_builds(
    create_databases: Callable[..., Databases], migrated_databases: Databases
) -> None:
    plain = create_databases()

    async def scenario() -> None:
        for name in NAMES:
            await alembic_driver.upgrade(plain.urls[name], name)
        assert await contents(migrated_databases) == await contents(plain)

    run(scenario())


def test_upgrade_says_what_ran_and_what_there_is_now(empty_databases: Databases) -> None:
    async def scenario() -> None:
        result = await up(empty_databases)
        assert [step.revision.id for step in result.plan.steps("main")] == MAIN
        assert [step.revision.id for step in result.plan.steps("credentials")] == CREDENTIALS
        assert len(result.seconds) == len(MAIN) + len(CREDENTIALS)
        by_database = await catalogs(empty_databases)
        for name in NAMES:
            assert list(result.tables[name]) == [row[0] for row in by_database[name]["tables"]]

    run(scenario())


def test_upgrade_of_an_empty_database_reads_it_only_before_and_after(
    empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    original = Database.reading

    def reading(database: Database) -> AbstractAsyncContextManager[asyncpg.Connection]:
        reads.append(database.name)
        return original(database)

    monkeypatch.setattr(Database, "reading", reading)
    both = deployment(empty_databases)
    assert run(upgrade(both, gate=SafetyGate(both, required=True))).tables
    assert reads == [*NAMES, *NAMES]


def test_requirement_runs_in_the_database_nobody_named(empty_databases: Databases) -> None:
    async def scenario() -> None:
        result = await up(empty_databases, only="credentials")
        assert [revision.qualified for revision in result.plan.added_dependencies] == ["main@dca7825748db"]
        assert await versions(empty_databases) == {**HEADS, "main": ["dca7825748db"]}

    run(scenario())


@pytest.mark.parametrize(
    "states",
    [*(pytest.param(states, marks=pytest.mark.thorough) for states in STATES[:-1]), STATES[-1]],
    ids=str,
)
def test_database_of_the_old_script_is_recognised_and_taken_to_head(
    create_databases: Callable[..., Databases],
    migrated_databases: Databases,
    states: tuple[str | None, ...],
) -> None:
    field = create_databases()
    at = {name: state for name, state in zip(NAMES, states, strict=True) if state}

    async def scenario() -> None:
        for name, state in at.items():
            async with field.connect(name) as connection:
                await old_script.build(connection, name, state)
        answer = {position.database: position for position in (await current(deployment(field))).positions}
        for name, known in (("main", MAIN), ("credentials", CREDENTIALS)):
            ids = [revision.id for revision in answer[name].current]
            assert ids == ([at[name]] if name in at else [])
            assert answer[name].error is None
            assert answer[name].pending == len(known) - (known.index(at[name]) + 1 if name in at else 0)
        await up(field)
        assert await contents(field) == await contents(migrated_databases)

    run(scenario())


async def ours(databases: Databases) -> dict[str, tuple[str, ...]]:
    answer = await current(deployment(databases))
    assert answer.exit_code is ExitCode.DONE
    return {
        position.database: tuple(revision.id for revision in position.current)
        for position in answer.positions
    }


ENV_PY = """
import asyncio, os
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = create_async_engine(os.environ["ALEMBIC_URL"], poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()

asyncio.run(main())
"""


class Alembic:
    """The `alembic` command with an env.py of its own, as any project without this package has it."""

    def __init__(self, folder: Path, database: str, url: str) -> None:
        self.folder = folder / f"alembic-{database}"
        self.folder.mkdir()
        (self.folder / "env.py").write_text(ENV_PY, encoding="utf-8")
        (self.folder / "alembic.ini").write_text(
            f"[alembic]\nscript_location = %(here)s\npath_separator = os\n"
            f"version_locations = {alembic_driver.FOLDER / database}\n",
            encoding="utf-8",
        )
        self.url = url.replace("postgresql://", "postgresql+asyncpg://")

    async def __call__(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", *arguments),
            cwd=self.folder,
            env={
                **os.environ,
                "ALEMBIC_URL": self.url,
                "PYTHONPATH": str(Path(circle_migrate.__file__).parents[1]),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        return stdout.decode().strip()


@pytest.mark.thorough
def test_alembic_and_the_package_take_turns(migrated_databases: Databases, tmp_path: Path) -> None:
    async def scenario() -> None:
        commands = [Alembic(tmp_path, name, migrated_databases.urls[name]) for name in NAMES]

        async def alembic(*arguments: str) -> list[str]:
            return list(await asyncio.gather(*(command(*arguments) for command in commands)))

        await down(migrated_databases, "-2")
        assert await alembic("current") == [MAIN[-3], CREDENTIALS[-3]]
        await alembic("upgrade", "+1")
        assert await ours(migrated_databases) == {"main": (MAIN[-2],), "credentials": (CREDENTIALS[-2],)}
        await up(migrated_databases)
        assert await alembic("current") == [f"{MAIN[-1]} (head)", f"{CREDENTIALS[-1]} (head)"]

    run(scenario())
