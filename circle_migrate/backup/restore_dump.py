"""One dump restored into one empty database, whatever programs that takes."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circle_migrate.backup.dump import TALKATIVE, copy
from circle_migrate.backup.pg_programs import Child, Program, find, start
from circle_migrate.config.url.environment import plain
from circle_migrate.core.errors import RestoreFailed

# What pg_restore sets since 17 at the beginning of every restore, and older servers do not know.
_NEW_SETTING = b"SET transaction_timeout = 0;\n"
_NEW_SETTING_SINCE = 17

_BEGINNING = 1 << 16
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class RestoreJob:
    """How a dump is restored: the programs, and what decrypts it, if anything.

    With `psql` pg_restore only writes a script for it, from which what the older server does not know is
    taken out. `jobs` is how many tables and indexes are restored at a time: 1 means all in one transaction.
    `left_out` are options of pg_restore.
    """

    restorer: Program
    psql: Program | None
    decryption: tuple[str, ...]
    jobs: int
    left_out: tuple[str, ...]

    @classmethod
    def plan(
        cls,
        dump_major: int,
        server_major: int,
        programs: Path | None,
        *,
        decryption: Sequence[str],
        jobs: int,
        left_out: Sequence[str],
    ) -> RestoreJob:
        """With the programs of this machine. Raises `SettingsError` where one is missing."""
        restorer = find("pg_restore", dump_major, programs)
        newer = restorer.major >= _NEW_SETTING_SINCE > server_major
        psql = find("psql", restorer.major, programs) if newer else None
        streamed = bool(decryption) or newer
        return cls(restorer, psql, tuple(decryption), 1 if streamed else jobs, tuple(left_out))

    async def restore(self, database: str, path: Path, env: Mapping[str, str]) -> None:
        """Restore the file into the database that `env` leads to. Raises `RestoreFailed`."""
        async with AsyncExitStack() as stack:
            cipher = None
            if self.decryption:
                file = stack.enter_context(path.open("rb"))
                cipher = await stack.enter_async_context(
                    start(self.decryption, plain(), stdin=file, stdout=PIPE)
                )
            if self.psql is None:
                chain = [await self._restorer(stack, path, env, self._at_once(), stdin=cipher)]
            else:
                writer = await self._restorer(stack, path, plain(), ["--file=-"], stdin=cipher, stdout=PIPE)
                chain = [writer, await stack.enter_async_context(start(self._script(), env, stdin=PIPE))]
            await asyncio.gather(*_connected(cipher, chain))
            # The last one first: the others may only have stopped because it did.
            for child in (*reversed(chain), *([cipher] if cipher else [])):
                if await child.end() != 0:
                    raise RestoreFailed(
                        f"{database}: the dump could not be restored",
                        database=database,
                        detail=await child.output(),
                    )

    def _at_once(self) -> list[str]:
        """Into the database of the environment; what does not share a transaction can share the work."""
        return ["--dbname=", f"--jobs={self.jobs}" if self.jobs > 1 else "--single-transaction"]

    def _script(self) -> list[str | Path]:
        assert self.psql is not None  # noqa: S101 - called only where there is one
        options = ["--no-psqlrc", "--quiet", "--no-password", "--file=-"]
        return [self.psql.path, *options, "--set=ON_ERROR_STOP=1"]

    async def _restorer(
        self,
        stack: AsyncExitStack,
        path: Path,
        env: Mapping[str, str],
        options: Sequence[str],
        *,
        stdin: Child | None,
        **streams: Any,
    ) -> Child:
        firm = ["--exit-on-error", "--no-password", TALKATIVE]
        argv: list[str | Path] = [self.restorer.path, *firm, *self.left_out, *options]
        if stdin is None:
            return await stack.enter_async_context(start([*argv, path], env, **streams))
        return await stack.enter_async_context(start(argv, env, stdin=PIPE, **streams))


def _connected(cipher: Child | None, chain: Sequence[Child]) -> list[Coroutine[Any, Any, None]]:
    """What carries the output of each program to the next one."""
    carriers = [copy(cipher, chain[0])] if cipher else []
    if len(chain) > 1:
        carriers.append(_script_through(*chain))
    return carriers


async def _script_through(writer: Child, reader: Child) -> None:
    """Let psql read what pg_restore writes, in a transaction that is committed only if all was written."""
    source, target = writer.process.stdout, reader.process.stdin
    assert source is not None  # noqa: S101 - both are pipes
    assert target is not None  # noqa: S101
    with suppress(ConnectionError):
        target.write(b"BEGIN;\n" + (await source.read(_BEGINNING)).replace(_NEW_SETTING, b"", 1))
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        if await writer.end() == 0:
            target.write(b"COMMIT;\n")
            await target.drain()
    target.close()
    with suppress(ConnectionError):
        await target.wait_closed()
