"""A table in use: readers queued behind a step wait no longer than lock_timeout."""

from __future__ import annotations

import asyncio
import time

import pytest

from circle_migrate.core.errors import LockNotObtained
from circle_migrate.core.events import Event, EventKind
from tests.faults.processes import PATIENCE_SECONDS, Process, holding, until
from tests.faults.shop import BASE, HEAD, Shop
from tests.faults.states import outcomes, position, steps
from tests.servers import Databases, run

LOCK_TIMEOUT = 1.0
# A reader may wait for two attempts, and the machine may be busy; the lock holder never ends.
MARGIN = 5

HOLD = "SELECT count(*) FROM people"
QUEUED = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'people'::regclass"


@pytest.fixture
def altering(own_shop: Shop, databases: Databases) -> Shop:
    """A shop whose pending segment alters `streets`, which nobody uses, then `people`."""
    own_shop.add("main", "m1", None, ["CREATE TABLE streets (id int)", "CREATE TABLE people (id int)"], [])
    own_shop.add("credentials", "c1", None, ["CREATE TABLE secrets (id int)"], [])
    run(own_shop.upgrade(databases))
    own_shop.add("credentials", "c2", "c1", ["ALTER TABLE secrets ADD hash text"], [])
    own_shop.add("main", "m2", "m1", ["ALTER TABLE streets ADD name text"], [])
    own_shop.add("main", "m3", "m2", ["ALTER TABLE people ADD name text"], [])
    return own_shop


class Upgrade:
    """Run an upgrade in the background; yield its events."""

    def __init__(self, shop: Shop, databases: Databases, **flags: object) -> None:
        self.told: list[Event] = []
        self._blocked = asyncio.Event()
        self.task = asyncio.create_task(shop.upgrade(databases, notify=self._notify, **flags))

    def _notify(self, event: Event) -> None:
        self.told.append(event)
        if event.kind is EventKind.RETRY:
            self._blocked.set()

    def texts(self, kind: EventKind) -> list[str]:
        return [event.text for event in self.told if event.kind is kind]

    async def until_retried(self) -> None:
        await asyncio.wait_for(self._blocked.wait(), PATIENCE_SECONDS)


@pytest.mark.parametrize("table", [pytest.param("people", marks=pytest.mark.thorough), "streets"])
def test_readers_behind_a_step_wait_no_longer_than_lock_timeout(
    altering: Shop, databases: Databases, table: str
) -> None:
    async def scenario() -> float:
        async with holding(databases, "main", HOLD) as holder, databases.connect("main") as reader:
            upgrade = Upgrade(altering, databases, lock_timeout=str(LOCK_TIMEOUT))
            await until(databases, "main", QUEUED)
            begun = time.monotonic()
            await asyncio.wait_for(reader.fetchval(f"SELECT count(*) FROM {table}"), PATIENCE_SECONDS)
            waited = time.monotonic() - begun
            assert holder.is_in_transaction()
            assert not upgrade.task.done()
            await upgrade.until_retried()
        await upgrade.task
        return waited

    assert run(scenario()) < LOCK_TIMEOUT * MARGIN
    assert run(steps(databases))["main"] == [("up", "m1"), ("up", "m2"), ("up", "m3")]


def test_blocker_is_named_and_the_retry_succeeds_when_it_leaves(altering: Shop, databases: Databases) -> None:
    async def scenario() -> None:
        async with holding(databases, "main", HOLD) as holder:
            pid = holder.get_server_pid()
            upgrade = Upgrade(altering, databases, lock_timeout=str(LOCK_TIMEOUT))
            await upgrade.until_retried()
            waiting = upgrade.texts(EventKind.WAITING)
            assert any(f"pid {pid} (" in text and HOLD in text for text in waiting), waiting
        await upgrade.task

    run(scenario())
    assert run(steps(databases)) == {
        "main": [("up", "m1"), ("up", "m2"), ("up", "m3")],
        "credentials": [("up", "c1"), ("up", "c2")],
    }
    assert run(outcomes(databases)) == {"main": ["done", "done"], "credentials": ["done", "done"]}


@pytest.mark.thorough
def test_lock_wait_ends_with_the_blocker_named(altering: Shop, databases: Databases) -> None:
    async def scenario() -> None:
        async with holding(databases, "main", HOLD) as holder:
            with pytest.raises(LockNotObtained) as caught:
                await altering.upgrade(databases, lock_timeout=str(LOCK_TIMEOUT), lock_wait="3")
            assert f"pid {holder.get_server_pid()} (" in (caught.value.detail or "")
            assert HOLD in (caught.value.detail or "")
            assert "55P03" in (caught.value.detail or "")
            assert caught.value.state == "main is at m1, credentials is at c1"

    run(scenario())
    assert run(outcomes(databases))["main"] == ["done", "failed"]
    run(altering.upgrade(databases))


@pytest.mark.thorough
def test_command_ends_with_6(shop: Shop, databases: Databases) -> None:
    run(shop.upgrade(databases))

    async def scenario() -> None:
        async with holding(databases, "main", HOLD) as holder:
            arguments = ("downgrade", "base", "--yes", "--lock-timeout", "500ms", "--lock-wait", "1")
            answer = await asyncio.to_thread(Process(databases, shop.folder, *arguments).end)
            assert answer.status == 6, answer.everything
            assert f"pid {holder.get_server_pid()} (" in answer.stderr

    run(scenario())
    assert run(position(databases)) == HEAD
    run(shop.downgrade(databases))
    assert run(position(databases)) == BASE
