"""Sign-in in two processes of one application: what must count together, counts together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.api.asgi import Answer
from tests.api.auth.people import EMAIL, PASSWORD, PERSON
from tests.api.auth.waiting import until_waiting
from tests.api.mounted import Client, Server, mounted
from tests.faults.processes import holding
from tests.servers import Databases, run

SIGN_IN = {"email": EMAIL, "password": PASSWORD}
WRONG = {"email": EMAIL, "password": "wrong"}


async def at_once(
    clients: Iterable[Client], path: str, bodies: Iterable[object], *bearer: str
) -> list[Answer]:
    """Let each client send its bodies one after the other, all clients at the same time."""
    bodies = list(bodies)

    def send(client: Client) -> list[Answer]:
        return [client.post(path, body, *bearer) for body in bodies]

    sent = await asyncio.gather(*(asyncio.to_thread(send, client) for client in clients))
    return [answer for answers in sent for answer in answers]


def statuses(answers: Iterable[Answer]) -> list[int]:
    return sorted(answer.status for answer in answers)


async def value(databases: Databases, name: str, query: str) -> Any:
    async with databases.connect(name) as connection:
        return await connection.fetchval(query)


def refresh_token(answer: Answer) -> dict[str, str]:
    assert answer.status == 200, answer.text
    return {"refresh_token": answer.json["refresh_token"]}


def test_two_processes_count_together(migrated_databases: Databases, workdir: Path) -> None:
    async def scenario(server: Server, first: Client, second: Client) -> None:
        both = (first, second)
        assert statuses(await at_once(both, "/register", [PERSON])) == [202, 202]
        assert await value(migrated_databases, "main", "SELECT count(*) FROM users") == 1
        await refreshes(first, second)
        bearer = first.post("/token", SIGN_IN).json["access_token"]
        (code,) = [message["secret"] for message in server.sent if message["kind"] == "verify-email"]
        guesses = [{"channel": "email", "code": f"{(int(code) + shift) % 10**6:06}"} for shift in range(1, 6)]
        assert statuses(await at_once(both, "/codes/verify", guesses, bearer)) == [400] * 10
        assert await value(migrated_databases, "credentials", "SELECT attempts FROM verification_codes") == 5
        assert second.post("/codes/verify", {"channel": "email", "code": code}, bearer).status == 400
        assert statuses(await at_once(both, "/token", [WRONG] * 4)) == [401] * 8
        assert [client.post("/token", SIGN_IN).status for client in both] == [401, 401]
        failures = "SELECT failed_login_attempts FROM user_credentials"
        assert await value(migrated_databases, "credentials", failures) == 5

    async def refreshes(first: Client, second: Client) -> None:
        token = refresh_token(first.post("/token", SIGN_IN))
        row = "SELECT FROM refresh_tokens FOR UPDATE"
        async with holding(migrated_databases, "credentials", row):
            exchanges = asyncio.create_task(at_once((first, second), "/token/refresh", [token]))
            await until_waiting(migrated_databases, 2)
        answers = await exchanges
        assert statuses(answers) == [200, 401]
        winner = refresh_token(next(answer for answer in answers if answer.status == 200))
        renewed = refresh_token(second.post("/token/refresh", winner))
        assert first.post("/token/refresh", winner).status == 401, "a replay"
        assert second.post("/token/refresh", renewed).status == 401, "it ends the session everywhere"

    with mounted(migrated_databases, workdir, processes=2) as server, server.clients(2) as clients:
        run(scenario(server, *clients))


@pytest.mark.thorough
def test_process_that_is_killed_takes_nothing_along(migrated_databases: Databases, workdir: Path) -> None:
    with mounted(migrated_databases, workdir, processes=2) as server:
        with server.clients(2) as (first, second):
            first.post("/register", PERSON)
            token = refresh_token(first.post("/token", SIGN_IN))
            first.post("/token", WRONG)
            os.kill(first.process, signal.SIGKILL)
            token = refresh_token(second.post("/token/refresh", token))
        with server.clients(2) as clients:  # uvicorn begins another one
            assert first.process not in {client.process for client in clients}
            for client in clients:
                token = refresh_token(client.post("/token/refresh", token))
                assert client.get("/api/v1/health/ready").status == 200
