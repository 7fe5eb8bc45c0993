"""A server killed or a connection cut during commit: the run finds out the outcome."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import InDoubt, MigrateError, MigrationFailed, Unreachable
from circle_migrate.migrate import commit, executor, session
from circle_migrate.migrate import run as run_module
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.migrate.session import working_session
from circle_migrate.postgres.embedded.cluster import Cluster
from tests.deployments import deployment
from tests.faults.processes import PATIENCE_SECONDS
from tests.faults.proxy import Cut, Proxy, proxied
from tests.faults.shop import BASE, HEAD, Position, Shop
from tests.faults.states import clear, position, prepared, steps
from tests.servers import NAMES, Databases, Server, any_major, run, start_binaries

_ADDRESS = "127.0.0.1"
_TRUST = f"local all all trust\nhost all all {_ADDRESS}/32 trust\n"

TORN: Position = {"main": HEAD["main"], "credentials": None}


@dataclass(frozen=True)
class Crashable:
    """A server that can be killed, and its databases, reached over TCP."""

    cluster: Cluster
    port: int
    databases: Databases

    def kill(self) -> None:
        """End the server as a crash does: no checkpoint, no message to clients."""
        program = self.cluster.binaries.program("pg_ctl")
        self.cluster.account.run([program, "stop", "-D", self.cluster.data, "-m", "immediate", "-w", "-s"])


@pytest.fixture(scope="module")
def crashable_server() -> Iterator[Crashable]:
    with socket.socket() as free:
        free.bind((_ADDRESS, 0))
        port: int = free.getsockname()[1]
    # Commits must survive the crash.
    settings = {"listen_addresses": _ADDRESS, "port": str(port), "synchronous_commit": "on"}
    with start_binaries(any_major(), settings, hba=_TRUST) as (cluster, _):
        server = Server("tcp", f"postgresql://postgres@{_ADDRESS}:{port}/postgres", cluster.stop)
        databases = Databases(server)
        run(databases.create())
        yield Crashable(cluster, port, databases)


@pytest.fixture
def crashable(crashable_server: Crashable) -> Crashable:
    crashable_server.cluster.start()
    run(clear(crashable_server.databases))
    return crashable_server


def at(point: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Return a checkpoint that acts at one point."""

    def checkpoint(name: str) -> None:
        if name == point:
            act()

    return checkpoint


async def upgraded(shop: Shop, databases: Databases, **how: object) -> MigrateError | None:
    """Return the error of an upgrade, None where it succeeded."""
    try:
        await shop.upgrade(databases, **how)
    except MigrateError as error:
        return error
    return None


SERIAL = [
    ("before commit main", MigrationFailed, BASE),
    ("after commit main", InDoubt, TORN),
    ("before commit credentials", InDoubt, TORN),
    ("after commit credentials", None, HEAD),
]
ATOMIC = [
    ("before prepare credentials", MigrationFailed, BASE),
    ("after prepare credentials", MigrationFailed, BASE),
    ("before commit main", MigrationFailed, BASE),
    ("after commit main", None, HEAD),
    ("before commit prepared credentials", None, HEAD),
    ("after commit prepared credentials", None, HEAD),
]
CASES = [
    *(pytest.param(False, *case, id=f"serial: {case[0]}") for case in SERIAL),
    *(pytest.param(True, *case, id=f"atomic: {case[0]}") for case in ATOMIC),
]


def check_mended(shop: Shop, databases: Databases) -> None:
    """Run again and check that head is reached, every step recorded once, and nothing in doubt."""
    run(shop.upgrade(databases))
    assert run(position(databases)) == HEAD
    assert run(steps(databases)) == {
        "main": [("up", "m1"), ("up", "m2")],
        "credentials": [("up", "c1"), ("up", "c2")],
    }
    assert run(prepared(databases)) == []


@pytest.mark.thorough
@pytest.mark.parametrize(("atomic", "point", "error", "expected"), CASES)
def test_server_killed_and_back_at_once(
    shop: Shop,
    crashable: Crashable,
    atomic: bool,
    point: str,
    error: type[MigrateError] | None,
    expected: Position,
) -> None:
    def crash() -> None:
        crashable.kill()
        crashable.cluster.start()

    databases = crashable.databases
    raised = run(upgraded(shop, databases, atomic=atomic, checkpoint=at(point, crash)))
    assert type(raised) is (error or type(None)), raised
    assert run(position(databases)) == expected
    assert run(prepared(databases)) == []
    check_mended(shop, databases)


@pytest.mark.thorough
@pytest.mark.parametrize(("atomic", "point", "_error", "expected"), CASES)
def test_server_killed_and_away(
    shop: Shop,
    crashable: Crashable,
    monkeypatch: pytest.MonkeyPatch,
    atomic: bool,
    point: str,
    _error: object,
    expected: Position,
) -> None:
    monkeypatch.setattr(commit, "_OUTCOME_SECONDS", 0.0)
    databases = crashable.databases
    raised = run(upgraded(shop, databases, atomic=atomic, checkpoint=at(point, crashable.kill)))
    if not point.startswith("after commit") or point.endswith(" main"):
        assert isinstance(raised, InDoubt | Unreachable), raised
    crashable.cluster.start()
    run(shop.recover(databases))
    assert run(position(databases)) == expected
    check_mended(shop, databases)


LOST = {
    (False, "main"): ("before commit main", "COMMIT", BASE, MigrationFailed),
    (False, "credentials"): ("before commit credentials", "COMMIT", TORN, InDoubt),
    (True, "main"): ("before commit main", "COMMIT", BASE, MigrationFailed),
    (True, "prepare"): ("before prepare credentials", "PREPARE TRANSACTION", BASE, MigrationFailed),
    (True, "finish"): ("before commit prepared credentials", "COMMIT PREPARED", HEAD, None),
}


@pytest.mark.thorough
@pytest.mark.parametrize("cut", [cut for cut in Cut if cut is not Cut.BLACK_HOLE], ids=lambda cut: cut.value)
@pytest.mark.parametrize(
    ("case", "database"),
    [
        pytest.param((False, "main"), "main", id="serial: main"),
        pytest.param(
            (False, "credentials"), "credentials", id="serial: credentials", marks=pytest.mark.thorough
        ),
        pytest.param((True, "main"), "main", id="atomic: main", marks=pytest.mark.thorough),
        pytest.param((True, "prepare"), "credentials", id="atomic: prepare"),
        pytest.param((True, "finish"), "credentials", id="atomic: commit prepared"),
    ],
)
def test_connection_cut(
    shop: Shop, crashable: Crashable, case: tuple[bool, str], database: str, cut: Cut
) -> None:
    point, statement, otherwise, error = LOST[case]
    carried_out = cut is not Cut.BEFORE_IT_ARRIVES and case[1] != "prepare"

    async def scenario() -> tuple[MigrateError | None, Proxy]:
        async with proxied(crashable.port) as proxy:
            through = rerouted(crashable.databases, {database: proxy.port})
            arm = at(point, lambda: proxy.arm(statement, cut))
            raised = await upgraded(shop, through, atomic=case[0], checkpoint=arm)
            await asyncio.wait_for(proxy.over.wait(), PATIENCE_SECONDS)
            return raised, proxy

    raised, proxy = run(scenario())
    assert [text.startswith(statement) for text in proxy.cuts] == [True]
    assert type(raised) is (type(None) if carried_out or error is None else error), raised
    assert run(position(crashable.databases)) == (HEAD if carried_out else otherwise)
    assert run(prepared(crashable.databases)) == []
    check_mended(shop, crashable.databases)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("point", "statement", "expected"),
    [
        ("before prepare credentials", "PREPARE TRANSACTION", BASE),
        ("before commit prepared credentials", "COMMIT PREPARED", HEAD),
    ],
)
def test_network_that_swallows_everything(
    shop: Shop,
    crashable: Crashable,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    statement: str,
    expected: Position,
) -> None:
    monkeypatch.setattr(commit, "_OUTCOME_SECONDS", 0.0)
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.5)

    async def scenario() -> MigrateError | None:
        async with proxied(crashable.port) as proxy:
            through = rerouted(crashable.databases, {"credentials": proxy.port}, "?connect_timeout=2")
            arm = at(point, lambda: proxy.arm(statement, Cut.BLACK_HOLE))
            return await upgraded(shop, through, atomic=True, checkpoint=arm)

    raised = run(scenario())
    assert isinstance(raised, InDoubt), raised
    assert raised.status == 8
    assert str(raised.state).endswith("credentials does not answer")
    run(shop.recover(crashable.databases))
    assert run(position(crashable.databases)) == expected
    check_mended(shop, crashable.databases)


def rerouted(databases: Databases, ports: dict[str, int], query: str = "") -> Databases:
    """Return the same databases, some of them on other ports."""
    urls = {
        name: urlunsplit(urlsplit(url)._replace(netloc=f"postgres@{_ADDRESS}:{ports[name]}")) + query
        if name in ports
        else url
        for name, url in databases.urls.items()
    }
    return _Rerouted(databases.server, dict(databases.names), urls)


@dataclass
class _Rerouted(Databases):
    """Databases with other URLs."""

    routes: dict[str, str] | None = None

    @property
    def urls(self) -> dict[str, str]:
        assert self.routes is not None
        return {name: self.routes[name] for name in NAMES}


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["killed", "swallowed"])
def test_everything_committed_before_the_server_is_gone(
    shop: Shop, crashable: Crashable, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The upgrade has succeeded, and says what it cannot read any more."""
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.5)
    original = run_module.finish_run

    async def lose(*arguments: Any) -> None:
        if how == "killed":
            await asyncio.to_thread(crashable.kill)
        else:
            proxies[0].hole.set()
            await asyncio.sleep(4)
        await original(*arguments)

    monkeypatch.setattr(executor, "finish_run", lose)
    proxies: list[Proxy] = []

    async def scenario() -> MigrationResult:
        async with proxied(crashable.port) as proxy:
            proxies.append(proxy)
            ports = dict.fromkeys(NAMES, proxy.port)
            return await upgrade(shop.deployment(rerouted(crashable.databases, ports, "?connect_timeout=1")))

    result = run(scenario())
    assert result.plan
    assert result.notes[-1].startswith("everything was committed; the tables cannot be listed: ")
    crashable.cluster.start()
    assert run(position(crashable.databases)) == HEAD


def test_session_of_a_client_that_is_gone_ends_within_a_minute(crashable: Crashable) -> None:
    query = "SELECT name, setting::int FROM pg_settings WHERE name LIKE 'tcp_%'"

    async def scenario() -> dict[str, int]:
        database = deployment(crashable.databases).databases["main"]
        async with working_session(database, "a run", 4) as session:
            return dict(await session.driver.fetch(query))

    result = run(scenario())
    idle, interval, count = (result[f"tcp_keepalives_{name}"] for name in ("idle", "interval", "count"))
    assert 0 < idle + interval * count < 60
    assert 0 < result["tcp_user_timeout"] < 60_000
