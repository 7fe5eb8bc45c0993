"""Several deployers at once: one works, the others wait and then have nothing to do."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from circle_migrate.commands.upgrade import upgrade
from circle_migrate.core.errors import LockNotObtained, Refused
from circle_migrate.core.events import Event, EventKind
from circle_migrate.postgres.deployer_lock import KEY
from circle_migrate.safety.gate import SafetyGate
from tests.deployments import execute
from tests.faults.processes import PATIENCE_SECONDS, Process, deploying, holding, started, until
from tests.faults.shop import BASE, HEAD, HEADS, Shop, sql
from tests.faults.states import outcomes, position, rows, steps
from tests.servers import NAMES, Databases, run

TEN = 10
EACH_ONCE = {name: [("up", key) for key in keys] for name, keys in HEADS.items()}
BUILDING = "SELECT 1 FROM pg_stat_progress_create_index"
BLOCKED_BY_A_DEPLOYER = """
    SELECT blocker.pid FROM pg_stat_progress_create_index AS build, unnest(pg_blocking_pids(build.pid)) AS pid
    JOIN pg_stat_activity AS blocker USING (pid) WHERE blocker.application_name LIKE 'circle-migrate%'
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "first",
    [pytest.param((), id="empty"), pytest.param(("main@m1",), id="half-way", marks=pytest.mark.thorough)],
)
def test_ten_at_once(shop: Shop, databases: Databases, first: tuple[str, ...]) -> None:
    if first:
        assert Process(databases, shop.folder, "upgrade", *first).end().status == 0
    with ExitStack() as stack:
        processes = [stack.enter_context(started(databases, shop.folder, "upgrade")) for _ in range(TEN)]
        answers = [process.end() for process in processes]
    assert [answer.status for answer in answers] == [0] * TEN, [answer.stderr for answer in answers]
    idle = [answer for answer in answers if "already up to date" in answer.stdout]
    assert len(idle) == TEN - 1
    assert run(position(databases)) == HEAD
    assert run(steps(databases)) == EACH_ONCE
    assert all(set(ended) == {"done"} for ended in run(outcomes(databases)).values())


@pytest.mark.parametrize("name", NAMES)
def test_lock_wait_ends_with_the_holder_named(shop: Shop, databases: Databases, name: str) -> None:
    async def scenario() -> None:
        async with deploying(databases, name) as pid:
            with pytest.raises(
                LockNotObtained, match=rf"{name}: .*pid {pid} \(circle-migrate other"
            ) as caught:
                await shop.upgrade(databases, lock_wait="1")
            assert f"pg_terminate_backend({pid})" in (caught.value.hint or "")
            assert int(caught.value.status) == 6

    run(scenario())
    assert run(rows(databases, "main", "SELECT to_regclass('circle_migrate.runs')")) == [(None,)]


def test_command_ends_with_6(shop: Shop, databases: Databases) -> None:
    async def scenario() -> None:
        async with deploying(databases, "credentials") as pid:
            arguments = ("upgrade", "--lock-wait", "1")
            answer = await asyncio.to_thread(Process(databases, shop.folder, *arguments).end)
            assert answer.status == 6
            assert f"pid {pid}" in answer.stderr

    run(scenario())


def test_released_lock_is_acquired(shop: Shop, databases: Databases) -> None:
    waiting = asyncio.Event()

    def notify(event: Event) -> None:
        if event.kind is EventKind.WAITING:
            waiting.set()

    async def scenario() -> None:
        async with deploying(databases, "main"):
            upgrade = asyncio.create_task(shop.upgrade(databases, notify=notify))
            await asyncio.wait_for(waiting.wait(), PATIENCE_SECONDS)
        await upgrade

    run(scenario())
    assert run(position(databases)) == HEAD


BACK_TO_BASE = "DROP TABLE people; DELETE FROM alembic_version"
ON_TO_HEAD = "ALTER TABLE people ADD name text; UPDATE alembic_version SET version_num = 'm2'"


@pytest.mark.parametrize("meanwhile", [BACK_TO_BASE, ON_TO_HEAD], ids=["more to do", "less to do"])
def test_unassessed_plan_is_refused_under_the_lock(shop: Shop, databases: Databases, meanwhile: str) -> None:
    """Another deployer upgrades main after the plan was assessed and before the lock is free."""
    waiting = asyncio.Event()

    def notify(event: Event) -> None:
        if event.kind is EventKind.WAITING:
            waiting.set()

    async def scenario() -> None:
        deployment = shop.deployment(databases)
        await upgrade(deployment, ["main@m1"])
        async with deploying(databases, "main"):
            gate = SafetyGate(deployment, required=True)
            judged = asyncio.create_task(upgrade(deployment, gate=gate, notify=notify))
            await asyncio.wait_for(waiting.wait(), PATIENCE_SECONDS)
            await execute(databases, "main", meanwhile)
        if meanwhile == ON_TO_HEAD:
            assert len((await judged).plan.actions) == 2
        else:
            with pytest.raises(Refused, match="have changed since the plan was made"):
                await judged

    run(scenario())
    assert run(position(databases)) == (HEAD if meanwhile == ON_TO_HEAD else BASE)


@pytest.mark.thorough
def test_waiting_deployer_does_not_block_a_concurrent_build(own_shop: Shop, databases: Databases) -> None:
    own_shop.add("main", "m1", None, ["CREATE TABLE people (id integer)"], [])
    own_shop.revision(
        "main",
        "m2",
        "m1",
        "ensure_index_concurrently(op, 'ix_people', 'people', ['id'])",
        "pass",
        imports="from circle_migrate.indexes import ensure_index_concurrently",
        more="transactional = False",
    )
    own_shop.add("credentials", "c1", None, ["CREATE TABLE secrets (id integer)"], [])

    async def scenario() -> None:
        with started(databases, own_shop.folder, "upgrade", "main@m1") as process:
            assert process.end().status == 0
        async with holding(databases, "main", "INSERT INTO people VALUES (1)") as holder:
            with started(databases, own_shop.folder, "upgrade") as builder:
                await until(databases, "main", BUILDING)
                told = asyncio.Event()
                waiter = asyncio.create_task(own_shop.upgrade(databases, notify=lambda _event: told.set()))
                await asyncio.wait_for(told.wait(), PATIENCE_SECONDS)
                assert await rows(databases, "main", BLOCKED_BY_A_DEPLOYER) == []
                await holder.close()
                answer = await asyncio.to_thread(builder.end)
                assert answer.status == 0, answer.stderr
                await asyncio.wait_for(waiter, PATIENCE_SECONDS)

    run(scenario())
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_people'::regclass"
    assert run(rows(databases, "main", valid)) == [(True,)]
    assert run(steps(databases))["main"] == [("up", "m1"), ("up", "m2")]


DECLARED = "transactional = False"
OWN_LOCKS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
UNLOCK = f"SELECT pg_advisory_unlock({KEY})"


@pytest.mark.parametrize(
    ("releasing", "more"),
    [
        ("SELECT pg_advisory_unlock_all()", ""),
        (f"{UNLOCK}; {UNLOCK}", ""),
        pytest.param("SELECT pg_advisory_unlock_all()", DECLARED, marks=pytest.mark.thorough),
        ("DISCARD ALL", DECLARED),
    ],
)
def test_lock_that_a_step_releases_is_taken_again(
    own_shop: Shop, databases: Databases, releasing: str, more: str
) -> None:
    own_shop.add("main", "m1", None, [releasing], [], more=more)
    own_shop.add("main", "m2", "m1", [f"CREATE TABLE held AS {OWN_LOCKS}"], [])
    result = run(own_shop.upgrade(databases))
    assert run(rows(databases, "main", "SELECT count(*) FROM held")) == [(1,)]
    (warning,) = result.warnings
    assert "main: upgrade m1 Revision m1 has released the deployer lock" in warning


def test_lock_that_a_failed_attempt_releases_is_taken_again(own_shop: Shop, databases: Databases) -> None:
    body = f"""
if not op.get_bind().exec_driver_sql("{OWN_LOCKS}").first():
    raise RuntimeError("no lock")
{sql("SELECT pg_advisory_unlock_all()", "DO $$ BEGIN RAISE lock_not_available; END $$")}
"""
    own_shop.revision("main", "m1", None, body, "pass")
    with pytest.raises(LockNotObtained, match=r"did not get its lock in [23] attempts"):
        run(own_shop.upgrade(databases, lock_wait="0.8"))


@pytest.mark.parametrize(("more", "current"), [("", "base"), (DECLARED, "m1")])
def test_lock_that_another_deployer_takes_ends_the_run(
    own_shop: Shop, databases: Databases, more: str, current: str
) -> None:
    other = (
        "SELECT FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database() "
        "WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
    )
    wait = f"DO $$ BEGIN WHILE NOT EXISTS ({other}) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
    own_shop.add("main", "m1", None, ["SELECT pg_advisory_unlock_all()", wait], [], more=more)
    own_shop.add("main", "m2", "m1", ["CREATE TABLE beside ()"], [])

    async def scenario() -> None:
        upgrade = asyncio.create_task(own_shop.upgrade(databases))
        await until(databases, "main", "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'DO $$ BEGIN WHILE%'")
        async with deploying(databases, "main") as pid:
            with pytest.raises(LockNotObtained, match=rf"another session holds it now: pid {pid} ") as caught:
                await upgrade
        assert caught.value.state == f"main is at {current}, credentials is at base"

    run(scenario())
    assert run(rows(databases, "main", "SELECT to_regclass('beside')")) == [(None,)]
