"""A cancellation that arrives while a connection is made, which Python 3.11's wait_for can lose."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from circle_migrate.migrate.session import monitor, working_session
from circle_migrate.postgres.create_database import maintenance_connection
from circle_migrate.postgres.database import Database
from tests.deployments import deployment
from tests.servers import Databases, run

connect = asyncpg.connect


async def losing_a_cancellation(**arguments: Any) -> asyncpg.Connection:
    """Connect, and lose a cancellation that arrives with the answer, as the driver does."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0.2)
    return await connect(**arguments)


def test_a_watch_cancelled_while_it_connects_ends(
    empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = deployment(empty_databases).databases["main"]

    async def scenario() -> None:
        async with working_session(database, "a run", 4) as session:
            with monkeypatch.context() as patched:
                patched.setattr(asyncpg, "connect", losing_a_cancellation)
                async with asyncio.timeout(10), monitor(database, session, lambda *_: None, lambda _: None):
                    await asyncio.sleep(0.05)

    run(scenario())


async def maintain(database: Database) -> None:
    async with maintenance_connection(database):
        pass


@pytest.mark.parametrize("work", [Database.state, maintain], ids=["state", "maintenance connection"])
def test_a_command_cancelled_while_it_connects_does_not_go_on(
    work: Callable[[Database], Awaitable[object]], empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    async def connecting(**arguments: Any) -> asyncpg.Connection:
        made.append(await losing_a_cancellation(**arguments))
        return made[-1]

    async def scenario() -> None:
        asking = asyncio.ensure_future(work(deployment(empty_databases).databases["main"]))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asking

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg, "connect", connecting)
        with pytest.raises(asyncio.CancelledError):
            run(scenario())
    assert [connection.is_closed() for connection in made] == [True]
