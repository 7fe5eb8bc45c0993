"""One dump: pg_dump into a file or through `age`, and a look at what it wrote."""

from __future__ import annotations

import os
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from circle_migrate.backup.encryption import encrypting
from circle_migrate.backup.pg_programs import Child, Program, find, start
from circle_migrate.config.url.environment import plain
from circle_migrate.core.errors import BackupFailed, BrokenBackup

TALKATIVE = "--verbose"
"""For pg_dump and pg_restore: one that nobody listens to any more, since we were killed, ends by SIGPIPE."""

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class DumpJob:
    """The programs for the dump of one database; `encryption` is the command it goes through, if any."""

    dumper: Program
    lister: Program
    encryption: tuple[str, ...] = ()

    @classmethod
    def plan(cls, dumper: Program, programs: Path | None, recipient: str | None) -> DumpJob:
        """With the pg_restore that reads what `dumper` writes. Raises `SettingsError` where there is none."""
        lister = find("pg_restore", dumper.major, programs)
        return cls(dumper, lister, tuple(encrypting(recipient)) if recipient else ())

    @property
    def encrypts(self) -> bool:
        """Whether the dump is encrypted."""
        return bool(self.encryption)

    @property
    def suffix(self) -> str:
        """How the file's name ends."""
        return ".dump.age" if self.encrypts else ".dump"

    async def dump(
        self, database: str, snapshot: str, path: Path, env: Mapping[str, str], lock_wait: float
    ) -> None:
        """Write the state that `snapshot` names into the file; `lock_wait` in seconds.

        Raises `BackupFailed`.
        """
        options = ["--format=custom", "--no-password", TALKATIVE, f"--snapshot={snapshot}"]
        options.append(f"--lock-wait-timeout={round(lock_wait * 1000)}")
        argv: list[str | Path] = [self.dumper.path, *options]
        if self.encrypts:
            await self._through(argv, database, path, env)
            return
        async with start([*argv, f"--file={path}"], env) as dumper:
            await _complete(dumper, database, "pg_dump")

    async def _through(
        self, argv: list[str | Path], database: str, path: Path, env: Mapping[str, str]
    ) -> None:
        """Encrypt on the way: the dump itself is never on disk, so it is looked at on the way as well."""
        with path.open("wb") as file:
            async with (
                start(argv, env, stdout=PIPE) as dumper,
                start(self.encryption, plain(), stdin=PIPE, stdout=file) as cipher,
                start([self.lister.path, "--list"], plain(), stdin=PIPE) as lister,
            ):
                await copy(dumper, cipher, lister)
                await _complete(dumper, database, "pg_dump")
                await _complete(cipher, database, "age")
                await _complete(lister, database, "pg_restore --list")
            os.fsync(file.fileno())


async def copy(source: Child, *targets: Child) -> None:
    """Copy what one program writes to all others; one that stops listening misses the rest.

    Why it did is what its exit status says.
    """
    writers = [target.process.stdin for target in targets if target.process.stdin]
    listening = list(writers)
    assert source.process.stdout  # noqa: S101 - it is a pipe
    while chunk := await source.process.stdout.read(_CHUNK):
        for target in list(listening):
            try:
                target.write(chunk)
                await target.drain()
            except ConnectionError:
                listening.remove(target)
    for target in writers:
        target.close()
        with suppress(ConnectionError):
            await target.wait_closed()


async def _complete(child: Child, database: str, program: str) -> None:
    """Wait for a program's end. Raises `BackupFailed` with its words where it was not a good one."""
    if await child.end() == 0:
        return
    raise BackupFailed(
        f"{database}: {program} failed",
        database=database,
        detail=await child.output(),
        state="there is no backup; the databases were only read",
        hint="the role has to be allowed to read every table and sequence"
        if "permission denied" in await child.output()
        else "correct the cause and run the same command again",
    )


async def list_contents(lister: Program, path: Path, database: str) -> None:
    """Raise `BrokenBackup` where pg_restore does not find a table of contents in the file."""
    async with start([lister.path, "--list", path], plain()) as child:
        if await child.end() != 0:
            raise BrokenBackup(
                f"{path} is no dump that {lister.path} can read",
                database=database,
                detail=await child.output(),
                state="nothing was touched",
                hint="take another copy of the backup",
            )


async def list_encrypted(lister: Program, decryption: Sequence[str], path: Path, database: str) -> None:
    """The same for an encrypted dump; `age` checks that it is whole."""
    with path.open("rb") as file:
        async with (
            start(decryption, plain(), stdin=file, stdout=PIPE) as cipher,
            start([lister.path, "--list"], plain(), stdin=PIPE) as child,
        ):
            await copy(cipher, child)
            for each, program in ((cipher, "age --decrypt"), (child, "pg_restore --list")):
                if await each.end() != 0:
                    raise BrokenBackup(
                        f"{path} cannot be read: {program} failed",
                        database=database,
                        detail=await each.output(),
                        state="nothing was touched",
                        hint="is this the key it was encrypted to?",
                    )
