"""init: create missing databases and migrate all."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import pytest

from circle_migrate.commands.upgrade import initialise
from circle_migrate.core.errors import (
    MissingDatabase,
)
from circle_migrate.postgres.create_database import create_missing
from tests.commands.shortcuts import HEADS
from tests.deployments import (
    deployment,
    versions,
)
from tests.servers import NAMES, Databases, run


@pytest.mark.parametrize(
    "missing",
    [
        ("main", "credentials"),
        ("credentials",),
        *(pytest.param(names, marks=pytest.mark.thorough) for names in (("main",), ())),
    ],
)
def test_init_makes_what_is_missing_and_migrates_all(
    empty_databases: Databases, missing: Sequence[str]
) -> None:
    async def scenario() -> None:
        for name in missing:
            await drop_database(empty_databases, name)
        target = deployment(empty_databases)
        result = await initialise(target, await create_missing(target))
        assert (result.command, result.created) == ("init", tuple(missing))
        assert await versions(empty_databases) == HEADS

    run(scenario())


def test_init_of_one_database_leaves_the_other_missing(empty_databases: Databases) -> None:
    async def scenario() -> None:
        for name in NAMES:
            await drop_database(empty_databases, name)
        target = deployment(empty_databases, "main")
        result = await initialise(target, await create_missing(target))
        assert result.created == ("main",)
        survey = await deployment(empty_databases).states_or_errors()
        assert isinstance(survey["credentials"], MissingDatabase)

    run(scenario())


async def drop_database(databases: Databases, name: str) -> None:
    connection = await asyncpg.connect(databases.server.admin_url)
    try:
        await connection.execute(f'DROP DATABASE "{databases.names[name]}"')
    finally:
        await connection.close()
