"""Restore one dump into one empty database, by pg_restore and, for an older server, psql."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circle_migrate.backup.dump import CHUNK, VERBOSE, copy
from circle_migrate.backup.pg_programs import Child, Program, find, start
from circle_migrate.config.url.environment import plain
from circle_migrate.core.errors import RestoreFailed

# pg_restore 17 and later sets this first; older servers do not know the parameter.
_NEW_SETTING = b"SET transaction_timeout = 0;\n"
_NEW_SETTING_SINCE = 17


@dataclass(frozen=True, slots=True)
class RestoreJob:
    """The programs that restore a dump; `decryption` is the command that decrypts it, if any.

    With `psql`, pg_restore writes a script for psql, without the setting that the older server does not know.
    `jobs` is the number of tables and indexes that are restored at a time: 1 means all in one transaction.
    `exclusions` are options of pg_restore.
    """

    restorer: Program
    psql: Program | None
    decryption: tuple[str, ...]
    jobs: int
    exclusions: tuple[str, ...]

    @classmethod
    def plan(
        cls,
        dump_major: int,
        server_major: int,
        programs: Path | None,
        *,
        decryption: Sequence[str],
        jobs: int,
        exclusions: Sequence[str],
    ) -> RestoreJob:
        """Find the programs on this machine. Raises `SettingsError` if one is missing."""
        restorer = find("pg_restore", dump_major, programs)
        newer = restorer.major >= _NEW_SETTING_SINCE > server_major
        psql = find("psql", restorer.major, programs) if newer else None
        streamed = bool(decryption) or newer
        return cls(restorer, psql, tuple(decryption), 1 if streamed else jobs, tuple(exclusions))

    async def restore(self, database: str, path: Path, env: Mapping[str, str]) -> None:
        """Restore the file into the database of the environment `env`. Raises `RestoreFailed`."""
        async with AsyncExitStack() as stack:
            cipher = None
            if self.decryption:
                file = stack.enter_context(path.open("rb"))
                cipher = await stack.enter_async_context(
                    start(self.decryption, plain(), stdin=file, stdout=PIPE)
                )
            copies: list[Coroutine[Any, Any, None]] = []
            if self.psql is None:
                # Several jobs cannot share a transaction.
                options = ["--dbname=", f"--jobs={self.jobs}" if self.jobs > 1 else "--single-transaction"]
                children = [await self._start_restorer(stack, path, env, options, stdin=cipher)]
            else:
                restorer = await self._start_restorer(
                    stack, path, plain(), ["--file=-"], stdin=cipher, stdout=PIPE
                )
                options = ["--no-psqlrc", "--quiet", "--no-password", "--file=-", "--set=ON_ERROR_STOP=1"]
                psql = await stack.enter_async_context(start([self.psql.path, *options], env, stdin=PIPE))
                children = [restorer, psql]
                copies.append(_copy_script(restorer, psql))
            if cipher:
                copies.append(copy(cipher, children[0]))
                children.insert(0, cipher)
            await asyncio.gather(*copies)
            # The last program first: its failure also ends those before it.
            for child in reversed(children):
                if await child.end() != 0:
                    raise RestoreFailed(
                        f"{database}: the dump could not be restored",
                        database=database,
                        detail=await child.output(),
                    )

    async def _start_restorer(
        self,
        stack: AsyncExitStack,
        path: Path,
        env: Mapping[str, str],
        options: Sequence[str],
        *,
        stdin: Child | None,
        **streams: Any,
    ) -> Child:
        argv: list[str | Path] = [self.restorer.path, "--exit-on-error", "--no-password", VERBOSE]
        argv += [*self.exclusions, *options]
        if stdin is None:
            return await stack.enter_async_context(start([*argv, path], env, **streams))
        return await stack.enter_async_context(start(argv, env, stdin=PIPE, **streams))


async def _copy_script(restorer: Child, psql: Child) -> None:
    """Send the script of pg_restore to psql, in a transaction that commits only if pg_restore succeeds."""
    source, target = restorer.process.stdout, psql.process.stdin
    assert source is not None  # noqa: S101 - both are pipes
    assert target is not None  # noqa: S101
    with suppress(ConnectionError):
        target.write(b"BEGIN;\n" + (await source.read(CHUNK)).replace(_NEW_SETTING, b"", 1))
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()
        if await restorer.end() == 0:
            target.write(b"COMMIT;\n")
            await target.drain()
    target.close()
    with suppress(ConnectionError):
        await target.wait_closed()
