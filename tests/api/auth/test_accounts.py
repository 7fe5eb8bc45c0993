"""Registration over two databases, the lock after wrong passwords, and the same work for everybody."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import asyncpg
import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from circle_migrate.api.auth import accounts, connections, router
from circle_migrate.api.auth.passwords import Passwords, Slot, Verified
from circle_migrate.commands.consistency.consistency import consistency
from tests.api.auth.people import EMAIL, PASSWORD, PERSON, People, people
from tests.api.auth.waiting import until_waiting
from tests.deployments import deployment, execute
from tests.faults.processes import holding
from tests.servers import Databases, run

ON_LOCKS = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
TERMINATE = f"SELECT pg_terminate_backend(pid) {ON_LOCKS}"
CREDENTIALS = "SELECT failed_login_attempts, locked_until, password_hash FROM user_credentials"


async def row(databases: Databases, name: str, query: str) -> Any:
    async with databases.connect(name) as connection:
        return await connection.fetchrow(query)


async def count(databases: Databases, name: str, table: str) -> int:
    (number,) = await row(databases, name, f"SELECT count(*) FROM {table}")
    return int(number)


async def orphans(databases: Databases) -> list[str]:
    """What `consistency` finds."""
    result = await consistency(deployment(databases), pause=0)
    return [finding.message for finding in result.findings]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The stored hashes with which passwords were compared."""
    seen: list[str | None] = []
    verify = Passwords.verify

    async def watch(self: Passwords, slot: Slot, password: str, stored: str | None) -> Verified:
        seen.append(stored)
        return await verify(self, slot, password, stored)

    monkeypatch.setattr(Passwords, "verify", watch)
    return seen


def test_five_wrong_passwords_exactly_also_at_once(databases: Databases, compared: list[str | None]) -> None:
    async def scenario() -> None:
        async with people(password_threads=4) as client:
            await client.register()
            tries = [client.sign_in(password=f"wrong {number}") for number in range(12)]
            answers = await asyncio.gather(*tries)
            assert {answer.status for answer in answers} == {401}
            assert len([stored for stored in compared if stored is not None]) == 5
            assert (await client.sign_in()).status == 401, "the right one does not help either"
            failures, locked_until, _ = await row(databases, "credentials", CREDENTIALS)
            assert (failures, locked_until is not None) == (5, True)
            past = "UPDATE user_credentials SET locked_until = now() - interval '1 second'"
            await execute(databases, "credentials", past)
            assert (await client.sign_in(password="wrong")).status == 401
            assert (await row(databases, "credentials", CREDENTIALS))[:2] == (1, None)
            assert (await client.sign_in()).status == 200
            assert (await row(databases, "credentials", CREDENTIALS))[:2] == (0, None)

    run(scenario())


def test_fifth_password_may_be_right(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            await client.register()
            for _ in range(4):
                await client.sign_in(password="wrong")
            assert (await client.sign_in()).status == 200

    run(scenario())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent."""
    seen: list[str] = []
    for name in ("fetchval", "fetchrow", "execute"):
        original = getattr(asyncpg.Connection, name)

        async def watch(
            self: Any, query: str, *arguments: Any, original: Any = original, **options: Any
        ) -> Any:
            seen.append(query)
            return await original(self, query, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, name, watch)
    return seen


def test_unknown_and_locked_users_take_the_same_work(
    databases: Databases, compared: list[str | None], asked: list[str]
) -> None:
    """Work is what is compared by bcrypt and asked of the databases."""

    async def scenario() -> None:
        async with people() as client:
            await client.register()
            await client.sign_in()  # connections are open
            work = []
            for email in (EMAIL, "nobody@example.org"):
                asked.clear()
                compared.clear()
                assert (await client.sign_in(email=email, password="wrong")).status == 401
                work.append((tuple(asked), len(compared)))
            await execute(
                databases,
                "credentials",
                "UPDATE user_credentials SET locked_until = now() + interval '1 hour'",
            )
            asked.clear()
            compared.clear()
            await client.sign_in()
            work.append((tuple(asked), len(compared)))
            assert work[0] == work[1] == work[2]
            assert len(work[0][0]) == 2

    run(scenario())


def test_registration_takes_the_same_work_for_known_addresses(
    databases: Databases, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work is what is asked of the databases, and their transactions that write, which wait for a disk."""
    hashed: list[str] = []
    before_response: list[int] = []
    hash_password, respond = Passwords.hash, router.json_response

    async def watch(self: Passwords, password: str) -> str:
        hashed.append(password)
        return await hash_password(self, password)

    def count_statements(*arguments: Any) -> Any:
        before_response.append(len(asked))
        return respond(*arguments)

    monkeypatch.setattr(Passwords, "hash", watch)
    monkeypatch.setattr(router, "json_response", count_statements)

    async def work(client: People, email: str) -> list[int]:
        for seen in (asked, hashed, before_response):
            seen.clear()
        assert (await client.register(email=email)).status == 202
        return [*before_response, len(hashed)]

    async def lockers() -> list[str]:
        tables = {"main": "users", "credentials": "user_credentials"}
        return [
            (await row(databases, name, f"SELECT xmax::text FROM {table}"))[0]
            for name, table in tables.items()
        ]

    async def scenario() -> None:
        async with people() as client:
            await client.register()  # connections are open
            assert await work(client, EMAIL) == [3, 1]
            before = await lockers()
            assert await work(client, EMAIL) == [3, 1]
            assert not set(before) & set(await lockers()), "what locks has something to commit"
            await execute(databases, "main", "UPDATE users SET is_active = false, email = 'Anna@Example.org'")
            assert await work(client, "Anna@Example.org") == [3, 1]
            assert await work(client, "b@example.org") == [3, 1], "a new one"

    run(scenario())


def test_too_many_passwords_at_once_lock_nobody(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with people() as client:
            await client.register()
            monkeypatch.setattr("circle_migrate.api.auth.passwords._QUEUE", 0)
        async with people() as client:
            assert (await client.sign_in()).status == 503
            assert (await row(databases, "credentials", CREDENTIALS))[0] == 0

    run(scenario())


def test_password_that_waits_too_long_is_no_try(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()

    def compare(*_: Any) -> Verified:
        hold.wait(30)
        return Verified(is_right=False)

    async def scenario() -> None:
        async with people(password_threads=1) as client:
            await client.register()
            monkeypatch.setattr(Passwords, "_verify", compare)
            monkeypatch.setattr(connections, "LIMIT", 1.0)
            answers = await asyncio.gather(*(client.sign_in() for _ in range(4)))
            hold.set()
            assert {answer.status for answer in answers} == {503}
            assert (await row(databases, "credentials", CREDENTIALS))[0] == 1, (
                "only the one that had a thread"
            )

    run(scenario())


def test_argon2_is_replaced_at_sign_in(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            await client.register()
            hashed = Argon2Hasher(memory_cost=64).hash(PASSWORD)
            await execute(databases, "credentials", f"UPDATE user_credentials SET password_hash = '{hashed}'")
            assert (await client.sign_in(password="wrong")).status == 401
            assert (await client.sign_in()).status == 200
            assert (await row(databases, "credentials", CREDENTIALS))[2].startswith("$2b$04$")
            assert (await client.sign_in()).status == 200

    run(scenario())


def test_addresses_with_capitals_of_before_are_found(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            await client.register()
            await execute(databases, "main", "UPDATE users SET email = 'Anna@Example.org'")
            assert (await client.sign_in(email="Anna@Example.org")).status == 200
            await client.register(email="Anna@Example.org")
            assert await count(databases, "main", "users") == 1
            assert (await client.sign_in(email="anna@example.org")).status == 401

    run(scenario())


def test_registrations_at_once_make_one_account(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            answers = await asyncio.gather(*(client.register() for _ in range(6)))
            assert {answer.status for answer in answers} == {202}
            assert await count(databases, "main", "users") == 1
            assert await count(databases, "credentials", "user_credentials") == 1
            assert await orphans(databases) == []

    run(scenario())


@pytest.mark.parametrize(
    "refuse",
    [
        "ALTER TABLE user_credentials ADD CHECK (user_id < 0)",
        "ALTER TABLE user_credentials RENAME TO gone",
        "INSERT INTO user_credentials (user_id, password_hash, salt) VALUES (1, 'of somebody else', '')",
    ],
)
def test_refused_credentials_take_the_user_back(databases: Databases, refuse: str) -> None:
    async def scenario() -> None:
        await execute(databases, "credentials", refuse)
        async with people() as client:
            answer = await client.register()
            assert (answer.status, answer.json["detail"]) == (503, "sign-in is not available; try again")
            assert await count(databases, "main", "users") == 0
            assert client.sent == []

    run(scenario())


def test_no_user_is_written_without_a_connection_for_the_credentials(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDS_DATABASE_URL", "postgresql://u:Zq-secret-xV@127.0.0.1:9/d")

    async def scenario() -> None:
        async with people() as client:
            answer = await client.register()
            assert answer.status == 503
            assert "127.0.0.1" not in answer.text
            assert await count(databases, "main", "users") == 0
            async with databases.connect("main") as connection:
                assert await connection.fetchval("SELECT nextval('users_id_seq')") == 1, "never written"

    run(scenario())


def test_lost_answer_is_asked_for_again(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try is ended after it was sent; its second finds, or makes, the same row."""
    monkeypatch.setattr(accounts, "_WRITE_SECONDS", 30.0)
    monkeypatch.setattr(connections, "LIMIT", 60.0)

    async def scenario() -> None:
        async with people() as client:
            async with holding(databases, "credentials", "LOCK TABLE user_credentials"):
                registering = asyncio.create_task(client.register())
                await until_waiting(databases, 1)
                await execute(databases, "credentials", TERMINATE)
            assert (await registering).status == 202
            assert (await client.sign_in()).status == 200
            assert await orphans(databases) == []

    run(scenario())


def test_uncertain_credentials_leave_the_user_whom_a_new_password_helps(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    """Both tries were sent, and nobody knows what became of them: the user might have credentials."""

    async def scenario() -> None:
        async with holding(databases, "credentials", "LOCK TABLE user_credentials"):
            async with people() as client:  # its end waits for what a request has begun
                registering = asyncio.create_task(client.register())
                await until_waiting(databases, 1)
                registering.cancel()
            assert "user 1 may have no credentials: circle-migrate consistency" in caplog.text
            assert await count(databases, "main", "users") == 1
            await execute(databases, "credentials", TERMINATE)
        async with people() as client:
            assert await orphans(databases) == [
                "main: 1 key of users.id is not in credentials.user_credentials.user_id"
            ]
            assert (await client.sign_in()).status == 401
            await client.post("/password/forgot", {"email": EMAIL})
            new = {"token": client.sent[-1].secret, "password": PASSWORD}
            assert (await client.post("/password/reset", new)).status == 204
            assert (await client.sign_in()).status == 200
            assert await orphans(databases) == []

    run(scenario())


def test_person_in_the_databases_encoding_or_refused(databases: Databases) -> None:
    async def scenario() -> None:
        async with people() as client:
            assert (await client.post("/register", {**PERSON, "first_name": "Ján 🦀"})).status == 202
            assert (await row(databases, "main", "SELECT first_name FROM users"))[0] == "Ján 🦀"

    run(scenario())
