"""Upgrade and downgrade on every supported version of PostgreSQL that is installed."""

from __future__ import annotations

import pytest

from circle_migrate.commands.check import check
from circle_migrate.commands.diff import diff
from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.status import status
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.findings import Report
from circle_migrate.postgres.catalog.fingerprint import fingerprint
from circle_migrate.postgres.database import GID_PREFIX
from circle_migrate.postgres.deployment import Deployment
from tests.deployments import RUNS, agree, catalogs, environment, execute, versions
from tests.faults.shop import BASE, HEAD, Shop
from tests.faults.states import position, prepared, rows
from tests.servers import Databases, Server, any_major, run, start_binaries

pytestmark = pytest.mark.thorough

MAJORS = range(13, 19)
"""The supported versions in the README."""

EVERYTHING = {"models": True, "drift": True, "consistency": True}


def deployment(databases: Databases) -> Deployment:
    """Return a deployment of the package's revisions, with scratch databases on the same server."""
    flags = {"scratch_url": databases.server.admin_url}
    return Deployment(load(flags, environ=environment(databases)))


def complaints(report: Report) -> list[str]:
    """Return messages of failed and skipped checks."""
    wrong = [finding.message for check in report.checks for finding in check.findings if finding.status]
    return wrong + [f"{check.name}: {check.skipped}" for check in report.checks if check.skipped]


async def there_and_back(databases: Databases) -> None:
    ours = deployment(databases)
    empty = await catalogs(databases)

    await upgrade(ours)
    assert await versions(databases) == {name: list(graph.heads) for name, graph in ours.graphs.items()}
    assert not (await upgrade(ours)).plan
    assert complaints(await status(ours, strict=True)) == []
    assert complaints(await check(ours, **EVERYTHING)) == []

    await execute(databases, "main", "ALTER TABLE users ADD by_hand text")
    assert any("by_hand" in complaint for complaint in complaints(await diff(ours)))
    await execute(databases, "main", "ALTER TABLE users DROP by_hand")

    await downgrade(ours, ["base"], confirm=agree)
    assert not any((await versions(databases)).values())
    assert await catalogs(databases) == empty


async def decided_together(shop: Shop, databases: Databases) -> None:
    """`--atomic`; the package's own revisions cannot use it, as one drops an index concurrently."""
    await shop.upgrade(databases, atomic=True)
    assert await position(databases) == HEAD
    await shop.downgrade(databases, atomic=True)
    assert await position(databases) == BASE


async def recovered(shop: Shop, databases: Databases) -> None:
    """A prepared transaction whose segment the deciding journal does not have is rolled back."""
    ((key,), *_) = await rows(databases, "credentials", f"SELECT run::text FROM {RUNS}")
    gid = f"{GID_PREFIX}{key}:99:main:credentials"
    prepare = ("BEGIN", "CREATE TABLE in_doubt ()", f"PREPARE TRANSACTION '{gid}'")
    lose = f"UPDATE {RUNS} SET outcome = 'lost', mode = 'atomic', planned = "
    lose += """'{"main": [], "credentials": []}'"""
    await execute(databases, "credentials", lose, *prepare)
    assert len((await shop.recover(databases)).transactions) == 1
    assert await prepared(databases) == []


async def keeps_its_fingerprint(databases: Databases) -> None:
    """Older servers change the condition of a partial index when the index is rebuilt."""
    statements = "CREATE TABLE numbers (n int)", "CREATE INDEX positive ON numbers (abs(n)) WHERE n > 0"
    await execute(databases, "main", *statements)
    async with databases.connect("main") as connection:
        before = await fingerprint(connection, "alembic_version")
        await connection.execute("REINDEX TABLE CONCURRENTLY numbers")
        assert await fingerprint(connection, "alembic_version") == before


async def essentials(shop: Shop, databases: Databases) -> None:
    await databases.create()
    await there_and_back(databases)
    await decided_together(shop, databases)
    await recovered(shop, databases)
    await keeps_its_fingerprint(databases)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.write_standard_trees()
    return shop


@pytest.mark.parametrize("major", MAJORS)
def test_the_way_there_and_back(shop: Shop, major: int) -> None:
    if major == any_major():
        pytest.skip("every other test runs on it")
    with start_binaries(major) as (cluster, url):
        run(essentials(shop, Databases(Server(f"PostgreSQL {major}", url, cluster.stop))))
