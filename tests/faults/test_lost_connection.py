"""A connection that is lost in a step: exit status 9, or 8 where something was committed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from circle_migrate.core.errors import HalfApplied, MigrateError, Unreachable
from circle_migrate.migrate import session
from circle_migrate.migrate.run import Hooks
from circle_migrate.revision_graph.plan import Action, Step
from tests.deployments import project_folder
from tests.faults.processes import holding, until
from tests.faults.proxy import Cut, Proxy, proxied
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.faults.test_lost_server import Crashable, crashable, crashable_server, rerouted, upgraded
from tests.servers import Databases, run

__all__ = ["crashable", "crashable_server", "project_folder"]

DECLARED = "transactional = False"
SLEEPING = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
)
ENDS = ["terminated", "failover", "away"]


async def lose(server: Crashable, shop: Shop, how: str) -> MigrateError | None:
    """Return the error of an upgrade whose connection is lost while it sleeps."""
    upgrading = asyncio.create_task(upgraded(shop, server.databases))
    await until(server.databases, "main", SLEEPING)
    if how == "terminated":
        async with server.databases.connect("main") as connection:
            await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({SLEEPING}) sleeping")
    else:
        await asyncio.to_thread(server.kill)
        if how == "failover":
            await asyncio.to_thread(server.cluster.start)
    return await upgrading


@pytest.mark.thorough
@pytest.mark.parametrize("more", ["", DECLARED], ids=["in a transaction", "without"])
@pytest.mark.parametrize("how", ENDS)
def test_connection_lost_in_a_step(project_folder: Path, crashable: Crashable, how: str, more: str) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t ()"], [])
    path = shop.add("main", "m2", "m1", ["SELECT pg_sleep(60)"], [], more=more)
    error = run(lose(crashable, shop, how))
    assert isinstance(error, Unreachable)
    assert error.status == 9
    if how == "away":
        assert str(error.state).startswith("main does not answer, credentials does not answer")
        crashable.cluster.start()
    elif how == "terminated":  # after a failover, the server may still be starting
        assert str(error.state).startswith("main is at m1" if more else "main is at base")
        assert str(error.location).startswith(str(path))
    shop.add("main", "m2", "m1", ["SELECT 1"], [], more=more)
    run(shop.upgrade(crashable.databases))
    assert run(rows(crashable.databases, "main", "SELECT version_num FROM alembic_version")) == [("m2",)]


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("case", ["after", "while"])
def test_connection_lost_after_a_commit(
    project_folder: Path, crashable: Crashable, how: str, case: str
) -> None:
    shop = Shop(project_folder)
    bodies = {
        "after": ["CREATE TABLE t ()", "SELECT pg_sleep(60)"],
        "while": ["CREATE TABLE t AS SELECT 1 AS a FROM pg_sleep(60)"],
    }
    shop.add("main", "m1", None, bodies[case], [], more=DECLARED)
    error = run(lose(crashable, shop, how))
    assert isinstance(error, HalfApplied)
    perhaps = "perhaps " if case == "while" else ""
    assert f"m1 is half applied, these stay: {perhaps}{bodies[case][0]}" in str(error.state)


BLOCKED = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'circle-migrate%' AND cardinality(pg_blocking_pids(pid)) > 0"
)


LOCKED = [
    ("circle_migrate.runs IN EXCLUSIVE MODE", "main: the journal cannot be written"),
    ("circle_migrate.steps IN ACCESS EXCLUSIVE MODE", "main: the connection was lost"),
    ("alembic_version IN ACCESS EXCLUSIVE MODE", "main: the connection was lost"),
]


@pytest.mark.parametrize(
    ("locked", "message", "driver"),
    [
        *((*locked, "asyncpg") for locked in LOCKED),
        (*LOCKED[1], "psycopg"),
        *(pytest.param(*locked, "psycopg", marks=pytest.mark.thorough) for locked in LOCKED[::2]),
    ],
)
def test_connection_lost_outside_of_a_step(
    own_shop: Shop,
    databases: Databases,
    caplog: pytest.LogCaptureFixture,
    locked: str,
    message: str,
    driver: str,
) -> None:
    own_shop.add("main", "m1", None, [], [])
    run(own_shop.upgrade(databases))
    own_shop.add("main", "m2", "m1", [], [])

    async def scenario() -> MigrateError | None:
        async with holding(databases, "main", f"LOCK TABLE {locked}"):
            flags = {"databases.main.driver": driver}
            upgrading = asyncio.create_task(upgraded(own_shop, databases, **flags))
            await until(databases, "main", BLOCKED)
            await rows(databases, "main", f"SELECT pg_terminate_backend(pid) FROM ({BLOCKED}) blocked")
            return await upgrading

    error = run(scenario())
    assert isinstance(error, Unreachable)
    assert (error.status, error.message, "57P01" in str(error.detail)) == (9, message, True)
    assert error.state == ("no step has run" if "journal" in message else None)
    assert caplog.messages == []


def test_no_other_connection_is_used(project_folder: Path, crashable: Crashable) -> None:
    """SQLAlchemy would connect again, and the statements would run without a lock."""
    shop = Shop(project_folder)
    body = """
try:
    op.execute("SELECT pg_terminate_backend(pg_backend_pid())")
except Exception:
    op.get_bind().rollback()
op.execute("CREATE TABLE left_over ()")
"""
    shop.revision("main", "m1", None, body, "pass", more=DECLARED)
    error = run(upgraded(shop, crashable.databases))
    assert isinstance(error, Unreachable)
    assert run(rows(crashable.databases, "main", "SELECT to_regclass('left_over')")) == [(None,)]


class _Arming(Hooks):
    """Loses the next COMMIT of the last revision, or the answer to it."""

    def __init__(self, proxy: Proxy, cut: Cut) -> None:
        self._proxy, self._cut = proxy, cut

    def before_step(self, _connection: object, action: Action) -> None:
        if isinstance(action, Step) and action.revision.id == "m2":
            self._proxy.arm("COMMIT", self._cut)


@pytest.mark.parametrize("cut", [Cut.BEFORE_IT_ARRIVES, Cut.BEFORE_ITS_ANSWER])
def test_commit_of_the_version_row_is_lost(project_folder: Path, crashable: Crashable, cut: Cut) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["SELECT 1"], [], more=DECLARED)
    shop.add("main", "m2", "m1", ["CREATE TABLE t ()"], [], more=DECLARED)

    async def scenario() -> MigrateError | None:
        async with proxied(crashable.port) as proxy:
            through = rerouted(crashable.databases, {"main": proxy.port})
            return await upgraded(shop, through, hooks=_Arming(proxy, cut))

    error = run(scenario())
    if cut is Cut.BEFORE_IT_ARRIVES:
        assert isinstance(error, HalfApplied)
        assert "main is at m1" in str(error.state)
        assert "these stay: CREATE TABLE t ()" in str(error.state)
    else:
        assert isinstance(error, Unreachable)
        assert str(error.state).startswith("main is at m2")


@pytest.mark.thorough
def test_network_that_swallows_a_step_without_transaction(
    project_folder: Path, crashable: Crashable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the step has committed is listed, and also the state of the database that answers."""
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.5)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["SELECT 1"], [])
    statements = ["CREATE TABLE stays ()", "CREATE TABLE perhaps ()"]
    shop.add("credentials", "c1", None, statements, [], more=DECLARED)

    async def scenario() -> MigrateError | None:
        async with proxied(crashable.port) as proxy:
            proxy.arm(statements[1], Cut.BLACK_HOLE)
            ports = {"credentials": proxy.port}
            return await upgraded(shop, rerouted(crashable.databases, ports, "?connect_timeout=1"))

    error = run(scenario())
    assert isinstance(error, HalfApplied), error
    stays = f"c1 is half applied, these stay: {statements[0]}; perhaps {statements[1]}"
    assert error.state == f"main is at m1, credentials does not answer; {stays}"
