"""Atomic commits: refused before the run where they are impossible, rolled back where they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from circle_migrate.core.errors import InDoubt, MigrationFailed, Refused
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.revision_graph.plan import Direction, Plan
from tests.deployments import RUNS, environment
from tests.faults.killed_process import KilledProcesses
from tests.faults.shop import BASE, HEAD, Shop
from tests.faults.states import everything, position, prepared, rows
from tests.servers import NAMES, Databases, Server, any_major, run, start_binaries


@pytest.fixture
def without_slots() -> Iterator[Databases]:
    """Databases on a server that takes no prepared transactions, as PostgreSQL does by default."""
    with start_binaries(any_major(), {"max_prepared_transactions": "0"}) as (cluster, url):
        databases = Databases(Server("without slots", url, cluster.stop))
        run(databases.create())
        yield databases


def test_refused_without_slots(shop: Shop, without_slots: Databases) -> None:
    before = run(everything(without_slots))
    with pytest.raises(Refused, match="max_prepared_transactions = 0") as caught:
        run(shop.upgrade(without_slots, atomic=True))
    assert caught.value.database == "credentials"
    assert run(position(without_slots)) == BASE
    assert run(everything(without_slots)) == before
    run(shop.upgrade(without_slots))
    assert run(position(without_slots)) == HEAD


@pytest.mark.parametrize(
    ("body", "more", "flags", "reason"),
    [
        ("pass", "transactional = False", {}, "cannot run in a transaction"),
        ("with op.get_context().autocommit_block():\n    pass", "", {}, "autocommit_block"),
        ("op.execute(\"ALTER TYPE mood ADD VALUE 'x'\")", "", {}, "must be committed first"),
        ("pass", "", {"transaction": "per-revision"}, "every revision has its own transaction"),
    ],
)
def test_refused_where_the_plan_has_several_segments(
    own_shop: Shop, databases: Databases, body: str, more: str, flags: dict[str, object], reason: str
) -> None:
    own_shop.add("main", "m1", None, ["CREATE TYPE mood AS ENUM ('y')"], [])
    own_shop.revision("main", "m2", "m1", body, "pass", more=more)
    own_shop.add("credentials", "c1", None, ["CREATE TABLE secrets (id integer)"], [])
    before = run(everything(databases))
    with pytest.raises(Refused, match=reason) as caught:
        run(own_shop.upgrade(databases, atomic=True, **flags))
    assert caught.value.state == "nothing was changed"
    assert run(everything(databases)) == before


def test_failed_prepare_leaves_nothing(own_shop: Shop, databases: Databases) -> None:
    own_shop.add("main", "m1", None, ["CREATE TABLE people (id integer)"], [])
    own_shop.add("credentials", "c1", None, ["CREATE TEMPORARY TABLE secrets (id integer)"], [])
    with pytest.raises(MigrationFailed, match="credentials: the transaction cannot be prepared"):
        run(own_shop.upgrade(databases, atomic=True))
    assert run(rows(databases, "main", "SELECT to_regclass('people')")) == [(None,)]
    assert run(prepared(databases)) == []


class _AbortedBeforePrepare:
    """A driver connection whose transaction fails before it is prepared."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    async def execute(self, statement: str, *values: object) -> str:
        """Send the statement; the server answers a PREPARE TRANSACTION with the command tag ROLLBACK."""
        if statement.startswith("PREPARE TRANSACTION"):
            with pytest.raises(asyncpg.DivisionByZeroError):
                await self._driver.execute("SELECT 1 / 0")
        return str(await self._driver.execute(statement, *values))


class _FailsUnseen(Hooks):
    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        session = run.sessions["credentials"]
        run.sessions["credentials"] = replace(session, driver=_AbortedBeforePrepare(session.driver))


def test_prepare_that_is_answered_with_rollback_is_a_failure(shop: Shop, databases: Databases) -> None:
    with pytest.raises(MigrationFailed, match="was rolled back instead of prepared") as caught:
        run(shop.upgrade(databases, hooks=_FailsUnseen(), atomic=True))
    assert caught.value.state == "the segment was rolled back on every database"
    assert run(position(databases)) == BASE
    assert run(prepared(databases)) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("atomic", [False, True], ids=["serial", "atomic"])
def test_deferred_constraint_fails_before_anything_is_committed(
    own_shop: Shop, databases: Databases, name: str, atomic: bool
) -> None:
    broken = [
        "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO t VALUES (1), (1)",
    ]
    for database, key in (("main", "m1"), ("credentials", "c1")):
        own_shop.add(database, key, None, broken if database == name else ["CREATE TABLE t (id int)"], [])
    with pytest.raises(MigrationFailed, match=f"{name}: a deferred constraint"):
        run(own_shop.upgrade(databases, atomic=atomic))
    for database in NAMES:
        assert run(rows(databases, database, "SELECT to_regclass('t')")) == [(None,)]


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])
def test_mode_is_in_the_journal(shop: Shop, databases: Databases, direction: Direction) -> None:
    if direction is Direction.DOWN:
        run(shop.upgrade(databases))
    run(shop.move(databases, direction, atomic=True))
    query = f"SELECT mode FROM {RUNS} ORDER BY started_at DESC LIMIT 1"
    assert [run(rows(databases, name, query)) for name in NAMES] == [[("atomic",)]] * 2
    assert run(prepared(databases)) == []


def test_recover_does_not_let_another_database_decide(
    shop: Shop,
    databases: Databases,
    create_databases: Callable[..., Databases],
    killed_processes: KilledProcesses,
) -> None:
    """After main's COMMIT, a wrong URL of main must not roll credentials back."""
    environ = environment(databases)
    killed_processes.run(shop.folder, environ, "up", "after commit main", atomic=True)
    (gid,) = run(prepared(databases))
    other = create_databases()
    mixed = Databases(databases.server, {**databases.names, "main": other.names["main"]})
    for is_used in False, True:
        if is_used:  # another deployment's database, with a journal of its own
            run(shop.upgrade(other))
        with pytest.raises(InDoubt, match="its journal lacks the run") as caught:
            run(shop.recover(mixed))
        assert "config show" in str(caught.value.hint)
        assert run(prepared(databases)) == [gid]
    run(shop.recover(databases))
    assert run(position(databases)) == HEAD
