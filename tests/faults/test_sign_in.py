"""Sign-in where a database does not answer, and where the process dies between both databases."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from circle_migrate.api.auth import connections
from circle_migrate.commands.consistency.consistency import consistency
from tests.api.auth.people import EMAIL, PASSWORD, people, use
from tests.deployments import VARIABLES, deployment, environment, execute
from tests.faults.processes import holding, until
from tests.servers import IMPORT_PATH, Databases, run

REGISTER = """
import asyncio
from tests.api.auth.people import people

async def scenario():
    async with people() as client:
        await client.register()

asyncio.run(scenario())
"""
ON_LOCKS = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@asynccontextmanager
async def behind_a_hole(databases: Databases, name: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield the URL of a way to a database, and the event that lets nothing pass any more."""
    url = urlsplit(databases.urls[name])
    query = parse_qs(url.query)
    hole, tasks = asyncio.Event(), set[asyncio.Task[None]]()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(65536):
                while hole.is_set():  # noqa: ASYNC110 - the event has no opposite
                    await asyncio.sleep(0.02)
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "host" in query:
            socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
            server = await asyncio.open_unix_connection(socket)
        else:
            server = await asyncio.open_connection(url.hostname, url.port or 5432)
        await asyncio.gather(forward(reader, server[1]), forward(server[0], writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    credentials = url.netloc.rpartition("@")[0]
    try:
        yield f"postgresql://{credentials}@127.0.0.1:{port}{url.path}?sslmode=disable", hole
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("name", VARIABLES)
def test_database_in_a_black_hole_is_503_within_the_limit(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, workdir: Path, name: str
) -> None:
    """Also for more requests than there are connections, and only for as long as it lasts."""
    use(monkeypatch, migrated_databases)

    async def scenario() -> None:
        async with (
            behind_a_hole(migrated_databases, name) as (url, hole),
            people(connections=2) as client,
        ):
            monkeypatch.setenv(VARIABLES[name], url)
            token = (await client.session())["refresh_token"]
            monkeypatch.setattr(connections, "LIMIT", 0.5)
            hole.set()
            async with asyncio.timeout(30):  # in front of a hole there is no end of waiting
                requests = [client.sign_in(), client.refresh(token), client.register(email="b@example.org")]
                requests += [client.sign_in() for _ in range(5)]
                answers = await asyncio.gather(*requests)
                forgot = await client.post("/password/forgot", {"email": EMAIL})  # ends after its message
            assert forgot.status == (202 if name == "credentials" else 503)
            assert {answer.status for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            assert "127.0.0.1" not in "".join(answer.text for answer in answers)
            monkeypatch.setattr(connections, "LIMIT", 30.0)
            hole.clear()
            await execute(
                migrated_databases,
                "credentials",
                "UPDATE user_credentials SET failed_login_attempts = 0, locked_until = NULL",
            )
            assert (await client.sign_in()).status == 200

    run(scenario())


def test_refresh_token_stays_good_where_main_does_not_answer(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    use(monkeypatch, migrated_databases)

    async def scenario() -> None:
        async with people() as client:
            token = (await client.session())["refresh_token"]
            with monkeypatch.context() as patch:
                patch.setattr(connections, "LIMIT", 0.3)
                async with holding(migrated_databases, "main", "LOCK TABLE users"):
                    assert (await client.refresh(token)).status == 503
            assert (await client.refresh(token)).status == 200

    run(scenario())


def test_process_that_dies_between_the_databases(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    """`consistency` finds the user without credentials, and a new password gives them."""
    use(monkeypatch, migrated_databases)
    variables = {**os.environ, **environment(migrated_databases), "PYTHONPATH": IMPORT_PATH}
    process = subprocess.Popen([sys.executable, "-c", REGISTER], env=variables)

    async def scenario() -> None:
        async with holding(migrated_databases, "credentials", "LOCK TABLE user_credentials"):
            await until(migrated_databases, "main", "SELECT FROM users")
            process.send_signal(signal.SIGKILL)
            process.wait()
            await execute(migrated_databases, "credentials", f"SELECT pg_terminate_backend(pid) {ON_LOCKS}")
        (finding,) = (await consistency(deployment(migrated_databases), pause=0)).findings
        assert finding.rule == "orphan"
        assert finding.database == "main"
        async with people() as client:
            await client.register()  # the address is taken: what helps is sent to it
            new = {"token": client.sent[-1].secret, "password": PASSWORD}
            assert (await client.post("/password/reset", new)).status == 204
            assert (await client.sign_in(email=EMAIL)).status == 200
        assert (await consistency(deployment(migrated_databases), pause=0)).findings == ()

    try:
        run(scenario())
    finally:
        process.kill()
        process.wait()
