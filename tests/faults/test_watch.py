"""A watch that gets no connection is told of, and the run goes on."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import asyncpg
import pytest

from circle_migrate.config.load import load
from circle_migrate.core.errors import Unreachable
from circle_migrate.migrate import session as sessions
from circle_migrate.migrate.session import Session, monitor, working_session
from circle_migrate.postgres.database import Database
from tests.deployments import execute
from tests.faults.processes import until
from tests.servers import Databases, run

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.simple_protocol import Adapter


@pytest.fixture
def role(empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role whose connections can be limited, as those of superusers cannot."""
    monkeypatch.setattr(sessions, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(sessions, "ANSWER_SECONDS", 0.5)
    name = f"watcher_{empty_databases.names['main']}"
    run(execute(empty_databases, "main", f"CREATE ROLE {name} LOGIN PASSWORD 'x'"))
    yield name
    run(execute(empty_databases, "main", f"DROP ROLE {name}"))


def database(url: str, **environ: str) -> Database:
    return Database(load(environ={"DATABASE_URL": url, **environ}).databases["main"])


@asynccontextmanager
async def watched(session: Session, watching: Database) -> AsyncIterator[list[Unreachable]]:
    lost: list[Unreachable] = []
    async with monitor(watching, session, lambda *_: None, lost.append):
        yield lost
        await asyncio.sleep(1.5)
    assert not session.driver.is_closed()
    assert await session.driver.fetchval("SELECT 1") == 1


async def limit(databases: Databases, role: str, connections: int) -> None:
    await execute(databases, "main", f"ALTER ROLE {role} CONNECTION LIMIT {connections}")


@pytest.mark.parametrize("moment", ["from the start", "later"])
def test_server_that_refuses_a_second_connection(
    empty_databases: Databases, role: str, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = database(re.sub("//[^@]*@", f"//{role}:x@", empty_databases.urls["main"]))
    other = f"SELECT pid FROM pg_stat_activity WHERE usename = '{role}' AND application_name LIKE '% watch'"

    async def scenario() -> None:
        async with working_session(own, "a run", 4) as session:
            if moment == "from the start":
                await limit(empty_databases, role, 1)
            async with watched(session, own) as lost:
                if moment == "later":
                    await until(empty_databases, "main", other)
                    await limit(empty_databases, role, 1)
                    await execute(
                        empty_databases, "main", f"SELECT pg_terminate_backend(pid) FROM ({other}) o"
                    )
            assert lost == []

    run(scenario())
    assert caplog.text.count("main: no second connection to watch the run") == 1
    assert "too many connections for role" in caplog.text


@pytest.mark.thorough
def test_password_that_a_command_no_longer_prints(
    empty_databases: Databases, role: str, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = {"CIRCLE_MIGRATE_MAIN_PASSWORD_COMMAND": "test -e valid && echo p-a-s-s"}
    own = database(re.sub("//[^@]*@", f"//{role}@", empty_databases.urls["main"]), **command)
    other = f"SELECT pid FROM pg_stat_activity WHERE usename = '{role}' AND application_name LIKE '% watch'"

    async def scenario() -> None:
        async with working_session(own, "a run", 4) as session, watched(session, own) as lost:
            await until(empty_databases, "main", other)
            (workdir / "valid").unlink()
            await execute(empty_databases, "main", f"SELECT pg_terminate_backend(pid) FROM ({other}) o")
        assert lost == []

    (workdir / "valid").touch()
    run(scenario())
    assert caplog.text.count("main: no second connection to watch the run") == 1


def test_server_that_never_answers_the_second_connection(
    empty_databases: Databases, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        watching = database(f"postgresql://{role}@127.0.0.1:{port}/x?connect_timeout=1")

        async def scenario() -> None:
            own = database(empty_databases.urls["main"])
            async with working_session(own, "a run", 4) as session, watched(session, watching) as lost:
                pass
            assert lost == []

        run(scenario())
    assert caplog.text.count("no answer from") == 1


def test_blocker_is_shown_with_its_own_statement(empty_databases: Databases) -> None:
    own = database(empty_databases.urls["main"])
    waits: list[str] = []

    def lock(connection: Connection) -> None:
        connection.begin()
        adapter = cast("Adapter", connection.connection.dbapi_connection)
        adapter.begin_step("SET search_path = 'public';SET circle_migrate.step = 'm1'")
        connection.exec_driver_sql("LOCK TABLE t")

    async def scenario() -> None:
        await execute(empty_databases, "main", "CREATE TABLE t ()")
        async with working_session(own, "first", 4) as first, working_session(own, "second", 4) as second:
            await first.connection.run_sync(lock)
            async with monitor(own, second, lambda _kind, _name, text: waits.append(text), lambda _: None):
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await second.driver.execute("SET lock_timeout = '2s'; LOCK TABLE public.t")

    run(scenario())
    assert waits[0].endswith(": LOCK TABLE t"), waits
