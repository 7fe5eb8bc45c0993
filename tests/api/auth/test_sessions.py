"""Refresh tokens: exchanged once, ended as a family, whatever happens at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from circle_migrate.api.auth import sessions
from circle_migrate.api.auth.passwords import Passwords, Slot, Verified
from tests.api.asgi import Answer
from tests.api.auth.people import EMAIL, PASSWORD, People, people
from tests.api.auth.waiting import until_waiting
from tests.deployments import execute
from tests.faults.processes import holding
from tests.servers import Databases, run

LIVE = (
    "SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL AND revoked_at IS NULL AND expires_at > now()"
)


async def value(databases: Databases, query: str, *arguments: object) -> Any:
    async with databases.connect("credentials") as connection:
        return await connection.fetchval(query, *arguments)


def test_replay_ends_the_session_and_no_other(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            stolen = (await client.session())["refresh_token"]
            other = (await client.sign_in()).json["refresh_token"]
            renewed = (await client.refresh(stolen)).json["refresh_token"]
            answer = await client.refresh(stolen)
            assert (answer.status, answer.json["detail"]) == (
                401,
                "the refresh token is not valid; sign in again",
            )
            assert (await client.refresh(renewed)).status == 401
            assert (await client.refresh(other)).status == 200

    run(scenario())


def test_of_refreshes_at_once_exactly_one_wins(databases: Databases) -> None:
    """They wait for the same row, so that none began after another had ended: this is no replay."""

    async def scenario() -> None:
        async with people() as client:
            token = (await client.session())["refresh_token"]
            row = "SELECT FROM refresh_tokens FOR UPDATE"
            async with holding(databases, "credentials", row):
                tasks = [asyncio.create_task(client.refresh(token)) for _ in range(4)]
                await until_waiting(databases, 4)
            answers = await asyncio.gather(*tasks)
            assert sorted(answer.status for answer in answers) == [200, 401, 401, 401]
            (winner,) = [answer.json["refresh_token"] for answer in answers if answer.status == 200]
            assert await value(databases, LIVE) == 1
            assert (await client.refresh(winner)).status == 200

    run(scenario())


async def _sign_out(client: People, token: str) -> Answer:
    return await client.post("/token/revoke", {"refresh_token": token})


async def _replay(client: People, token: str) -> Answer:
    return await client.refresh(token)


End = Callable[[People, str], Awaitable[Answer]]


@pytest.mark.parametrize("end", [_sign_out, _replay])
def test_exchange_at_the_same_time_leaves_no_live_token(databases: Databases, end: End) -> None:
    """What ends the session comes while an exchange has written its token and has not committed it."""

    async def scenario() -> None:
        async with people() as client:
            first = (await client.session())["refresh_token"]
            second = (await client.refresh(first)).json["refresh_token"]
            # The exchange asks main before it commits, and waits there.
            async with holding(databases, "main", "LOCK TABLE users"):
                exchange = asyncio.create_task(client.refresh(second))
                await until_waiting(databases, 1, "main")
                ending = asyncio.create_task(end(client, first))
                await until_waiting(databases, 1)
            await asyncio.gather(exchange, ending)
            assert await value(databases, LIVE) == 0

    run(scenario())


def test_new_password_at_the_same_time_leaves_no_live_token(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            token = (await client.session())["refresh_token"]
            await client.post("/password/forgot", {"email": EMAIL})
            new = {"token": client.sent[-1].secret, "password": PASSWORD}
            async with databases.connect("credentials") as connection:
                transaction = connection.transaction()
                await transaction.start()
                await sessions.exchange(connection, token)
                ending = asyncio.create_task(client.post("/password/reset", new))
                await until_waiting(databases, 1)
                await transaction.commit()
            assert (await ending).status == 204
            assert await value(databases, LIVE) == 0

    run(scenario())


def test_sign_out_ends_the_session_and_says_nothing(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            token = (await client.session())["refresh_token"]
            assert (await _sign_out(client, "unknown")).status == 204
            assert (await _sign_out(client, token)).status == 204
            assert (await _sign_out(client, token)).status == 204
            assert (await client.refresh(token)).status == 401

    run(scenario())


def test_session_ends_though_it_is_refreshed(databases: Databases) -> None:
    async def scenario() -> None:
        async with people(session_days=7) as client:
            token = (await client.session())["refresh_token"]
            ends = await value(databases, "SELECT max(expires_at) FROM refresh_tokens")
            token = (await client.refresh(token)).json["refresh_token"]
            assert await value(databases, "SELECT min(expires_at) = max(expires_at) FROM refresh_tokens")
            assert await value(databases, "SELECT $1 - created_at FROM user_credentials", ends)
            past = "UPDATE refresh_tokens SET created_at = now() - interval '8 days', expires_at = now()"
            await execute(databases, "credentials", past)
            assert (await client.refresh(token)).status == 401
            await client.sign_in()
            assert await value(databases, "SELECT count(*) FROM refresh_tokens") == 1, (
                "expired ones are removed"
            )

    run(scenario())


def test_tokens_are_taken_for_nothing_else(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            session = await client.session()
            assert (await client.refresh(session["access_token"])).status == 401
            answer = await client.post("/codes", {"channel": "email"}, session["refresh_token"])
            assert answer.status == 401
            reset = {"token": session["refresh_token"], "password": PASSWORD}
            assert (await client.post("/password/reset", reset)).status == 400

    run(scenario())


def test_password_that_changes_while_it_is_compared(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new password ends all sessions; one that the old password begins after that would stay."""
    verify = Passwords.verify

    async def slowly(self: Passwords, slot: Slot, password: str, stored: str | None) -> Verified:
        verified = await verify(self, slot, password, stored)
        await execute(databases, "credentials", "UPDATE user_credentials SET password_hash = 'new'")
        return verified

    async def scenario() -> None:
        async with people() as client:
            await client.register()
            monkeypatch.setattr(Passwords, "verify", slowly)
            assert (await client.sign_in()).status == 401
            assert await value(databases, "SELECT count(*) FROM refresh_tokens") == 0

    run(scenario())
