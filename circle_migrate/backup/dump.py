"""Dump one database by pg_dump, verify that the dump can be read, and restore it into an empty database.

Dumps are encrypted by `age`; for an older server psql runs the script of pg_restore.
"""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from circle_migrate.backup.contents import ExportedSnapshot
from circle_migrate.backup.manifest import Dump
from circle_migrate.backup.pg_programs import Child, Program, find, start
from circle_migrate.config.url.environment import plain
from circle_migrate.core.errors import BackupFailed, BrokenBackup, RestoreFailed, SettingsError, UsageError
from circle_migrate.postgres.identifier import quote

_VERBOSE = "--verbose"
"""Makes pg_dump and pg_restore write to stderr all the time, so that SIGPIPE ends them if we are killed."""

_CHUNK = 1 << 18
"""Bytes that are read from a pipe at a time."""

# pg_restore 17 and later sets this first; older servers do not know the parameter.
_NEW_SETTING = b"SET transaction_timeout = 0;\n"
_NEW_SETTING_SINCE = 17

_RECIPIENTS = ("age1", "ssh-")


def encrypt_command(recipient: str) -> list[str]:
    """Return the command that encrypts stdin for a recipient (age1…, ssh-…) or for those in a file.

    Raises `SettingsError` without `age`, `UsageError` for a recipient that is neither.
    """
    program = _age()
    if recipient.startswith(_RECIPIENTS):
        return [program, "--encrypt", "--recipient", recipient]
    if not Path(recipient).is_file():
        raise UsageError(
            f"{recipient} is neither a recipient nor a file with recipients",
            hint="give the public key that `age-keygen` prints: --encrypt-to age1…",
        )
    return [program, "--encrypt", "--recipients-file", recipient]


def decrypt_command(identity: Path | None) -> list[str]:
    """Return the command that decrypts stdin with the key in a file. Raises as `encrypt_command`."""
    if identity is None:
        raise UsageError(
            "a dump of this backup is encrypted", state="nothing was changed", hint="--identity KEY_FILE"
        )
    if not identity.is_file():
        raise UsageError(
            f"{identity} is not a file", hint="give the file that `age-keygen` wrote: --identity KEY_FILE"
        )
    return [_age(), "--decrypt", "--identity", str(identity)]


def _age() -> str:
    program = shutil.which("age")
    if program is None:
        raise SettingsError(
            "the program `age`, which encrypts dumps, is not on PATH",
            hint="apt install age, brew install age, or https://github.com/FiloSottile/age",
        )
    return program


@dataclass(frozen=True, slots=True)
class DumpJob:
    """The programs that dump one database; `encryption` is the command that encrypts the dump, if any."""

    dumper: Program
    lister: Program
    encryption: tuple[str, ...] = ()

    @classmethod
    def plan(cls, dumper: Program, programs: Path | None, recipient: str | None) -> Self:
        """Find the pg_restore that reads what `dumper` writes. Raises `SettingsError` if there is none."""
        lister = find("pg_restore", dumper.major, programs)
        return cls(dumper, lister, tuple(encrypt_command(recipient)) if recipient else ())

    async def dump(
        self, snapshot: ExportedSnapshot, path: Path, env: Mapping[str, str], wait: float, *options: str
    ) -> None:
        """Dump a snapshot into the file; locks are waited for `wait` seconds. Raises `BackupFailed`.

        With `options`, such as --schema-only, the dump is not encrypted.
        """
        argv: list[str | Path] = [self.dumper.path, "--format=custom", "--no-password", _VERBOSE, *options]
        argv += [f"--snapshot={snapshot.snapshot}", f"--lock-wait-timeout={round(wait * 1000)}"]
        database = snapshot.database.name
        if self.encryption and not options:
            await self._dump_encrypted(argv, database, path, env)
            return
        async with start([*argv, f"--file={path}"], env) as dumper:
            await _wait_for_success(dumper, database, "pg_dump", env.get("PGUSER", "ROLE"))

    async def _dump_encrypted(
        self, argv: list[str | Path], database: str, path: Path, env: Mapping[str, str]
    ) -> None:
        """Send the dump to `age` and to `pg_restore --list`: the plain text never gets to the disk."""
        with path.open("wb") as file:
            async with (
                start(argv, env, stdout=PIPE) as dumper,
                start(self.encryption, plain(), stdin=PIPE, stdout=file) as cipher,
                start([self.lister.path, "--list"], plain(), stdin=PIPE) as lister,
            ):
                await copy(dumper, cipher, lister)
                await _wait_for_success(dumper, database, "pg_dump", env.get("PGUSER", "ROLE"))
                await _wait_for_success(cipher, database, "age")
                await _wait_for_success(lister, database, "pg_restore --list")
            os.fsync(file.fileno())


async def copy(source: Child, *targets: Child) -> None:
    """Copy a program's output to the input of others; one that closes its input gets no more."""
    writers = [target.process.stdin for target in targets if target.process.stdin]
    open_writers = list(writers)
    assert source.process.stdout  # noqa: S101 - it is a pipe
    while chunk := await source.process.stdout.read(_CHUNK):
        for writer in list(open_writers):
            try:
                writer.write(chunk)
                await writer.drain()
            except ConnectionError:
                open_writers.remove(writer)
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _wait_for_success(child: Child, database: str, program: str, role: str = "") -> None:
    """Wait until the program ends. Raises `BackupFailed` with its output if it fails."""
    if await child.end() == 0:
        return
    output = await child.output()
    raise BackupFailed(
        f"{database}: {program} failed",
        database=database,
        detail=output,
        hint=_hint(output, role),
    )


def _hint(output: str, role: str) -> str:
    """Return the statement that gives the role what it lacks, or else that the cause is to be corrected."""
    if match := re.search(r"row-level security policy for table (\S+)", output):
        return (
            f"policies of {match[1]} would hide rows from the backup: make it as a superuser or as the owner "
            f"without FORCE ROW LEVEL SECURITY, or as a superuser: ALTER ROLE {quote(role)} BYPASSRLS;"
        )
    refused = r"(?:permission denied for|failed to get data for) (table|sequence|schema) (\"[^\"]+\"|[^\s;]+)"
    if match := re.search(refused, output):
        kind, name = match.groups()
        grant = (
            f"GRANT {'USAGE' if kind == 'schema' else 'SELECT'} ON {kind.upper()} {name} TO {quote(role)};"
        )
        return f"{grant} and the same for every other table, sequence and schema"
    if "too many connections for role" in output:
        return f"a backup needs two connections and more: ALTER ROLE {quote(role)} CONNECTION LIMIT 5;"
    return "correct the cause and run the same command again"


async def ensure_readable(lister: Program, path: Path, database: str, decryption: Sequence[str] = ()) -> None:
    """Raise `BrokenBackup` if the file cannot be decrypted or pg_restore finds no table of contents in it."""
    async with AsyncExitStack() as stack:
        if decryption:
            file = stack.enter_context(path.open("rb"))
            cipher = await stack.enter_async_context(start(decryption, plain(), stdin=file, stdout=PIPE))
            reader = await stack.enter_async_context(start([lister.path, "--list"], plain(), stdin=PIPE))
            await copy(cipher, reader)
            programs = {"age --decrypt": cipher, "pg_restore --list": reader}
            hint = "give the key of the backup's recipient: --identity KEY_FILE"
        else:
            reader = await stack.enter_async_context(start([lister.path, "--list", path], plain()))
            programs = {f"{lister.path} --list": reader}
            hint = "use another copy of the backup"
        for name, program in programs.items():
            if await program.end() != 0:
                raise BrokenBackup(
                    f"{path} cannot be read: {name} failed",
                    database=database,
                    detail=await program.output(),
                    hint=hint,
                )


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Options of a restore: `replace` databases that are not empty, and `disconnect` their sessions.

    `jobs` is the number of tables and indexes that are restored at a time, 1 for all in one transaction.
    `identity` is the file with the key for encrypted dumps, `programs` the folder of pg_restore. Without
    `owners` the role that restores owns everything, without `privileges` nothing is granted. `overridden` are
    protected databases that may be replaced.
    """

    replace: bool = False
    disconnect: bool = False
    jobs: int = 1
    identity: Path | None = None
    programs: Path | None = None
    owners: bool = True
    privileges: bool = True
    overridden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreJob:
    """The programs that restore a dump; `decryption` is the command that decrypts it, if any.

    With `psql`, pg_restore writes a script for psql, without the setting that the older server does not know.
    `jobs` is as in `RestoreOptions`; `exclusions` are options of pg_restore.
    """

    restorer: Program
    psql: Program | None
    decryption: tuple[str, ...]
    jobs: int
    exclusions: tuple[str, ...]

    @classmethod
    def plan(cls, dump: Dump, server: int, options: RestoreOptions, decryption: Sequence[str]) -> Self:
        """Find the programs for a server of this major version. Raises `SettingsError` if one is missing."""
        restorer = find("pg_restore", dump.dump_major, options.programs)
        newer = restorer.major >= _NEW_SETTING_SINCE > server
        psql = find("psql", restorer.major, options.programs) if newer else None
        jobs = 1 if decryption or newer else options.jobs
        parts = ((options.owners, "--no-owner"), (options.privileges, "--no-privileges"))
        exclusions = tuple(option for included, option in parts if not included)
        return cls(restorer, psql, tuple(decryption), jobs, exclusions)

    async def restore(self, database: str, path: Path, env: Mapping[str, str]) -> None:
        """Restore the file into the database of the environment `env`. Raises `RestoreFailed`."""
        argv: list[str | Path] = [self.restorer.path, "--exit-on-error", "--no-password", _VERBOSE]
        argv += self.exclusions
        ciphers: list[Child] = []
        psql: list[Child] = []
        copies: list[Coroutine[Any, Any, None]] = []
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            if self.decryption:
                file = stack.enter_context(path.open("rb"))
                cipher = start(self.decryption, plain(), stdin=file, stdout=PIPE)
                ciphers.append(await enter(cipher))
            source, stdin = ([], PIPE) if ciphers else ([path], DEVNULL)
            if self.psql is None:
                # Several jobs cannot share a transaction.
                options = ["--dbname=", f"--jobs={self.jobs}" if self.jobs > 1 else "--single-transaction"]
                restorer = await enter(start([*argv, *options, *source], env, stdin=stdin))
            else:
                script = start([*argv, "--file=-", *source], plain(), stdin=stdin, stdout=PIPE)
                restorer = await enter(script)
                options = ["--no-psqlrc", "--quiet", "--no-password", "--file=-", "--set=ON_ERROR_STOP=1"]
                psql.append(await enter(start([self.psql.path, *options], env, stdin=PIPE)))
                copies.append(_copy_script(restorer, *psql))
            if ciphers:
                copies.append(copy(*ciphers, restorer))
            await asyncio.gather(*copies)
            # The last program first: its failure also ends those before it.
            for child in (*psql, restorer, *ciphers):
                if await child.end() != 0:
                    message = f"{database}: the dump could not be restored"
                    raise RestoreFailed(message, database=database, detail=await child.output())


async def _copy_script(restorer: Child, psql: Child) -> None:
    """Send the script of pg_restore to psql, in a transaction that commits only if pg_restore succeeds."""
    source, target = restorer.process.stdout, psql.process.stdin
    assert source is not None  # noqa: S101 - both are pipes
    assert target is not None  # noqa: S101
    with suppress(ConnectionError):
        target.write(b"BEGIN;\n" + (await source.read(_CHUNK)).replace(_NEW_SETTING, b"", 1))
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        if await restorer.end() == 0:
            target.write(b"COMMIT;\n")
            await target.drain()
    target.close()
    with suppress(ConnectionError):
        await target.wait_closed()
