"""Hashing of passwords: what is accepted, what is replaced, and how much work is done for whom."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from circle_migrate.api.auth.passwords import Passwords
from tests.servers import run

PASSWORD = "correct horse battery"


def verify(stored: str | None, password: str = PASSWORD) -> tuple[bool, str | None]:
    async def scenario() -> tuple[bool, str | None]:
        passwords = Passwords(rounds=4, threads=1)
        async with passwords.slot() as slot:
            verified = await passwords.verify(slot, password, stored)
        passwords.close()
        return verified

    return run(scenario())


def test_bcrypt_of_the_same_cost_is_kept() -> None:
    assert verify(BcryptHasher(4).hash(PASSWORD)) == (True, None)


@pytest.mark.parametrize(
    "stored",
    [
        Argon2Hasher(memory_cost=64).hash(PASSWORD),
        BcryptHasher(5).hash(PASSWORD),
        BcryptHasher(4, "2a").hash(PASSWORD),
    ],
    ids=["argon2", "another cost", "another prefix"],
)
def test_other_hash_is_accepted_and_replaced(stored: str) -> None:
    is_right, new = verify(stored)
    assert is_right
    assert new is not None
    assert new.startswith("$2b$04$")
    assert verify(new) == (True, None)
    assert verify(stored, "wrong password") == (False, None)


@pytest.mark.parametrize(
    "stored", [None, "", "x", "$2b$04$", "$argon2id$v=19$x", "$1$salt$hash", "*" * 255, "\ud800"]
)
def test_work_is_the_same_without_a_hash(stored: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is what is given to bcrypt: a hash of the same cost, once."""
    import bcrypt

    work: list[bytes] = []
    checkpw = bcrypt.checkpw

    def count(password: bytes, hashed: bytes) -> bool:
        work.append(hashed)
        return checkpw(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", count)
    assert verify(stored) == (False, None)
    verify(BcryptHasher(4).hash(PASSWORD))
    nobody, somebody = work
    assert nobody[:7] == somebody[:7] == b"$2b$04$"
    assert len(nobody) == len(somebody)


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where requests are given up: the threads that work for them are not replaced."""
    hold, most, running = threading.Event(), 0, 0
    lock = threading.Lock()

    async def scenario() -> None:
        passwords = Passwords(rounds=4, threads=2)

        def work(*_: Any) -> tuple[bool, None]:
            nonlocal most, running
            with lock:
                running += 1
                most = max(most, running)
            hold.wait(30)
            with lock:
                running -= 1
            return True, None

        async def verify() -> None:
            async with passwords.slot() as slot:
                await passwords.verify(slot, "x", None)

        monkeypatch.setattr(passwords, "_verify", work)
        tasks = [asyncio.create_task(verify()) for _ in range(30)]
        async with asyncio.timeout(30):
            while most < 2:  # noqa: ASYNC110 - threads have no event for us
                await asyncio.sleep(0.01)
        refused, others = [task for task in tasks if task.done()], [task for task in tasks if not task.done()]
        assert {task.exception().status_code for task in refused} == {503}
        assert len(refused) == 12, "two at work, eight wait for each of them"
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        again = [asyncio.create_task(verify()) for _ in range(4)]
        await asyncio.sleep(0.05)
        hold.set()
        await asyncio.gather(*again)
        passwords.close()

    run(scenario())
    assert most == 2
