"""Codes: one live code, five tries, ten minutes, whoever tries at once."""

from __future__ import annotations

import asyncio
from typing import Any

from circle_migrate.api.auth.codes import code_hash, new_code
from tests.api.auth.people import KEY, OLD_KEY, People, people
from tests.deployments import execute
from tests.servers import Databases, run

PHONE = "+491701234567"


async def value(databases: Databases, query: str) -> Any:
    async with databases.connect("credentials") as connection:
        return await connection.fetchval(query)


async def wait(databases: Databases, seconds: int) -> None:
    """Let time pass for the codes."""
    moved = ", ".join(
        f"{column} = {column} - interval '{seconds} seconds'"
        for column in ("created_at", "expires_at", "sent_since")
    )
    await execute(databases, "credentials", f"UPDATE verification_codes SET {moved}")


async def verify(client: People, bearer: str, code: str, channel: str = "email") -> int:
    answer = await client.post("/codes/verify", {"channel": channel, "code": code}, bearer)
    return answer.status


def wrong(code: str, shift: int = 1) -> str:
    return f"{(int(code) + shift) % 1_000_000:06}"


def test_five_tries_exactly_also_at_once(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            code = client.sent[0].secret
            guesses = [verify(client, bearer, wrong(code, shift)) for shift in range(1, 30)]
            assert set(await asyncio.gather(*guesses)) == {400}
            assert await value(databases, "SELECT attempts FROM verification_codes") == 5
            assert await verify(client, bearer, code) == 400

    run(scenario())


def test_right_code_at_once_is_used_once(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            tries = [verify(client, bearer, client.sent[0].secret) for _ in range(8)]
            assert sorted(await asyncio.gather(*tries)) == [204] + [400] * 7

    run(scenario())


def test_fifth_try_may_be_right(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            code = client.sent[0].secret
            assert [await verify(client, bearer, wrong(code)) for _ in range(4)] == [400] * 4
            assert await verify(client, bearer, code) == 204

    run(scenario())


def test_code_expires_after_ten_minutes(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            await wait(databases, 600)
            assert await verify(client, bearer, client.sent[0].secret) == 400
            await wait(databases, -5)
            assert await verify(client, bearer, client.sent[0].secret) == 204

    run(scenario())


def test_new_code_replaces_the_one_before(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            again = await client.post("/codes", {"channel": "email"}, bearer)
            assert (again.status, again.headers["retry-after"]) == (429, "60")
            await wait(databases, 60)
            requests = [client.post("/codes", {"channel": "email"}, bearer) for _ in range(4)]
            statuses = sorted(answer.status for answer in await asyncio.gather(*requests))
            assert statuses == [202, 429, 429, 429]
            first, second = (message.secret for message in client.sent)
            if first != second:
                assert await verify(client, bearer, first) == 400
            assert await verify(client, bearer, second) == 204

    run(scenario())


def test_ten_codes_in_a_day(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            statuses = []
            for _ in range(10):
                await wait(databases, 60)
                statuses.append((await client.post("/codes", {"channel": "email"}, bearer)).status)
            assert statuses == [202] * 9 + [429]
            await wait(databases, 86_400)
            assert (await client.post("/codes", {"channel": "email"}, bearer)).status == 202
            assert await value(databases, "SELECT sent FROM verification_codes") == 1

    run(scenario())


def test_code_is_of_a_user_a_channel_and_an_address(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            await client.register(phone=PHONE)
            bearer = (await client.sign_in()).json["access_token"]
            await client.post("/codes", {"channel": "phone"}, bearer)
            email, phone = client.sent
            assert (phone.to, phone.kind) == (PHONE, "verify-phone")
            await client.register(email="eve@example.org")
            eve = (await client.sign_in(email="eve@example.org")).json["access_token"]
            code_of_eve = client.sent[-1].secret
            if len({email.secret, phone.secret, code_of_eve}) == 3:
                assert await verify(client, eve, email.secret) == 400
                assert await verify(client, bearer, email.secret, "phone") == 400
            await execute(
                databases, "main", "UPDATE users SET phone = '+491701234568' WHERE phone IS NOT NULL"
            )
            assert await verify(client, bearer, phone.secret, "phone") == 400
            await execute(databases, "main", f"UPDATE users SET phone = '{PHONE}' WHERE phone IS NOT NULL")
            assert await verify(client, bearer, phone.secret, "phone") == 204
            async with databases.connect("main") as connection:
                flags = await connection.fetch("SELECT email_verified, phone_verified FROM users ORDER BY id")
            assert [tuple(row) for row in flags] == [(False, True), (False, False)]

    run(scenario())


def test_code_outlives_the_replacement_of_the_key(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            bearer = (await client.session())["access_token"]
            old = code_hash(OLD_KEY.encode(), 1, "email", client.sent[0].to, "123456")
            async with databases.connect("credentials") as connection:
                await connection.execute("UPDATE verification_codes SET code_hash = $1", old)
            assert await verify(client, bearer, "123456") == 204

    run(scenario())


def test_codes_are_random_and_hashed_with_a_key() -> None:
    codes = {new_code() for _ in range(100)}
    assert len(codes) > 90
    assert all(len(code) == 6 and code.isdecimal() for code in codes)
    arguments = (1, "email", "a@example.org", "123456")
    assert code_hash(KEY.encode(), *arguments) != code_hash(OLD_KEY.encode(), *arguments)
