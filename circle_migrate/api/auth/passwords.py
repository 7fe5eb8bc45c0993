"""Passwords: bcrypt for new ones, argon2 accepted and replaced, hashed in a bounded number of threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from fastapi import HTTPException
from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

MAX_BYTES = 72
"""Bytes of a password in UTF-8; bcrypt ignores, or refuses, what follows."""

MIN_CHARACTERS = 8
"""Characters of a new password."""

_QUEUE = 8
"""Passwords that may wait for each thread."""

T = TypeVar("T")


class Verified(NamedTuple):
    """Whether a password is right, and a hash that should replace the stored one."""

    is_right: bool
    new_hash: str | None = None


class Slot:
    """A thread, and the work that it does."""

    work: asyncio.Future[Any] | None = None


class Passwords:
    """Hashes and verifies passwords. `rounds` is the cost of bcrypt, the logarithm of its iterations."""

    def __init__(self, rounds: int, threads: int) -> None:
        self._hasher = PasswordHash((BcryptHasher(rounds), Argon2Hasher()))
        self._threads, self._waiting = threads, 0
        self._slots = asyncio.Semaphore(threads)
        self._executor: ThreadPoolExecutor | None = None
        # A hash of the right form and cost that no password has: its salt and digest are zeros.
        self._nobody = f"$2b${rounds:02}$" + "." * 53

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait for a thread. Raises an `HTTPException` where too many wait."""
        slots, slot = self._slots, Slot()
        if self._waiting >= self._threads * _QUEUE:
            raise HTTPException(503, "too many sign-ins at once; try again")
        self._waiting += 1
        try:
            await slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield slot
        finally:
            if slot.work is None or slot.work.done():
                slots.release()
            else:  # the request is given up, but its thread works on
                slot.work.add_done_callback(lambda _: slots.release())

    async def hash(self, password: str) -> str:
        """Return the hash of a new password. Raises the error of `slot`."""
        async with self.slot() as slot:
            return await self._run(slot, lambda: self._hasher.hash(password))

    async def verify(self, slot: Slot, password: str, stored: str | None) -> Verified:
        """Compare with a stored hash; without one, do the same work for nothing."""
        return await self._run(slot, lambda: self._verify(password, stored))

    def close(self) -> None:
        """End the threads; the next password begins new ones."""
        self._slots = asyncio.Semaphore(self._threads)  # the next event loop needs another one
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, stored: str | None) -> Verified:
        if stored is not None:
            try:
                return Verified(*self._hasher.verify_and_update(password, stored))
            except (PwdlibError, ValueError):
                pass  # no hash of ours
        self._hasher.verify(password, self._nobody)
        return Verified(is_right=False)

    async def _run(self, slot: Slot, work: Callable[[], T]) -> T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, "circle-migrate-password")
        slot.work = future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        return await asyncio.shield(future)
