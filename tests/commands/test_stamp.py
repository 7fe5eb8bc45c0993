"""stamp: what it records, and what it repairs."""

from __future__ import annotations

import pytest

from circle_migrate.core.errors import (
    MigrateError,
)
from circle_migrate.revision_graph.plan import Plan, Stamp
from tests.commands.shortcuts import claim, up
from tests.deployments import (
    catalogs,
    execute,
    versions,
)
from tests.servers import Databases, run


def test_stamp_says_what_it_claims_and_runs_nothing(empty_databases: Databases) -> None:
    claims: list[Plan] = []

    async def scenario() -> None:
        await up(empty_databases, "main@b37f", "credentials@1e97")
        before = await catalogs(empty_databases)
        await claim(empty_databases, "main@a930", "credentials@base", confirm=claims.append)
        assert await catalogs(empty_databases) == before
        assert await versions(empty_databases) == {"main": ["a930217cd080"], "credentials": []}

    run(scenario())
    main, credentials = claims[0].actions
    assert isinstance(main, Stamp)
    assert isinstance(credentials, Stamp)
    assert [revision.id for revision in main.claimed] == ["a930217cd080"]
    assert [revision.id for revision in credentials.disowned] == ["1e978f7e8aa5"]
    assert (main.disowned, credentials.claimed) == ((), ())


def test_stamp_mends_a_version_table_only_when_told_to(empty_databases: Databases) -> None:
    """Unknown, contradicting and swapped versions stop a plain stamp; `--purge` is there to mend them."""

    async def scenario() -> None:
        await up(empty_databases, "main@b37f")
        for rows in (["gone"], ["dca7825748db", "b37f99db0c0e"], ["1e978f7e8aa5"]):
            values = ", ".join(f"('{row}')" for row in rows)
            await execute(
                empty_databases,
                "main",
                "TRUNCATE alembic_version",
                f"INSERT INTO alembic_version VALUES {values}",
            )
            with pytest.raises(MigrateError):
                await claim(empty_databases, "main@b37f", only="main")
            assert (await versions(empty_databases))["main"] == sorted(rows)
            await claim(empty_databases, "main@b37f", only="main", purge=True)
            assert (await versions(empty_databases))["main"] == ["b37f99db0c0e"]

    run(scenario())
