"""One PostgreSQL data directory: make it, configure it, start and stop the server on it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from circle_migrate.core.atomic_write import replace_file
from circle_migrate.core.errors import Unreachable
from circle_migrate.postgres.embedded.binaries import Binaries
from circle_migrate.postgres.embedded.os_user import OsUser

PORT = 5432  # names the socket file only: every server has a socket folder of its own
CONFIGURATION = "circle_migrate.conf"

_START_SECONDS = 60.0
_STOP_SECONDS = 60
_POLL_SECONDS = 0.05
_LOG_LINES = 15
# The builtin provider (17 and later) sorts and folds case by Unicode without any locale of the machine.
_BUILTIN_LOCALE_SINCE = 17


@dataclass(frozen=True)
class Postmaster:
    """A live server, as its `postmaster.pid` describes it.

    Its format: src/include/utils/pidfile.h in the sources of PostgreSQL.
    """

    pid: int
    since: datetime
    port: int
    socket_dir: Path
    ready: bool

    @classmethod
    def on(cls, data: Path) -> Postmaster | None:
        """The server running on a data directory; None where the file is absent, unfinished or left over."""
        try:
            lines = (
                (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(lines) < 8 or str(data) not in (_arguments_of(int(lines[0])) or []):
            return None
        return cls(
            pid=int(lines[0]),
            since=datetime.fromtimestamp(int(lines[2]), UTC),
            port=int(lines[3]),
            socket_dir=Path(lines[4]),
            ready=lines[7].strip() == "ready",
        )


@dataclass(frozen=True)
class Cluster:
    """A data directory, the programs that serve it, the user they run as and the file they log to."""

    data: Path
    log: Path
    binaries: Binaries
    account: OsUser

    def create(self, *options: str) -> None:
        """Run initdb (with further `options`) beside the directory and move the result in: all or nothing.

        Local connections are trusted, since the socket folder keeps others out; TCP connections are rejected
        even where somebody opens a port.

        Raises:
            Unreachable: initdb failed; nothing is left.
        """
        staging = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
        staging.mkdir(mode=0o700)
        self.account.take_ownership(staging)
        locale = ["--locale=C"]
        if self.binaries.major >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = self.account.run(
            [
                self.binaries.program("initdb"),
                f"--pgdata={staging}",
                "--username=postgres",
                "--auth-local=trust",
                "--auth-host=reject",
                "--encoding=UTF8",
                *locale,
                *options,
            ]
        )
        if initdb.returncode != 0:
            shutil.rmtree(staging, ignore_errors=True)
            raise Unreachable(
                f"initdb of PostgreSQL {self.binaries.major} failed for {self.data}",
                detail=_last_lines(initdb.stderr or initdb.stdout),
                state="nothing was left behind",
                hint="is the disk full or the folder not writable?",
            )
        _append(staging / "postgresql.conf", f"\n# Lines below this one win.\ninclude = '{CONFIGURATION}'\n")
        staging.rename(self.data)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write our settings to our own file, which postgresql.conf includes."""
        lines = ["# circle-migrate writes this file at every start.\n"]
        lines += [f"{name} = {_quoted(value)}\n" for name, value in settings.items()]
        owner = (self.account.uid, self.account.gid)
        replace_file(self.data / CONFIGURATION, "".join(lines).encode(), owner=owner)

    def start(self, seconds: float = _START_SECONDS) -> Postmaster:
        """Start the server, or join a start that is under way, and wait until it takes connections.

        Raises:
            Unreachable: it ended, or was not ready in time and was stopped; `detail` is the end of its log.
        """
        deadline = time.monotonic() + seconds
        while True:
            before = len(self._log_text())
            supervisor = self._launch() if Postmaster.on(self.data) is None else None
            postmaster = self._wait(supervisor, deadline)
            if postmaster is not None:
                return postmaster
            words = _last_lines(self._log_text()[before:])
            # After kill -9 of the postmaster its backends end by themselves, the busy ones a little later.
            if "is still in use" in words and time.monotonic() < deadline:
                time.sleep(10 * _POLL_SECONDS)
                continue
            self._abandon()
            raise Unreachable(
                f"PostgreSQL {self.binaries.major} did not start on {self.data}",
                detail=words,
                hint=f"the whole log: {self.log}",
            )

    def stop(self) -> None:
        """Stop the server, ending its sessions (`fast`); where that takes too long, without a checkpoint.

        Raises:
            Unreachable: it is still there.
        """
        for mode in ("fast", "immediate"):
            stopped = self._pg_ctl_stop(mode)
            if stopped is None:
                return
        raise Unreachable(f"the PostgreSQL on {self.data} did not stop", detail=stopped)

    def _launch(self) -> int:
        """Start the server in a session of its own; the process id of the shell that waits for it.

        That shell stays: where process 1 reaps no orphans (most containers), a killed server would remain a
        zombie, whose id in postmaster.pid keeps the next one from starting. (pg_ctl's own start has no such
        shell, and expands `$` in the paths it is given.)
        """
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            shell = self.account.run(
                [
                    "/bin/sh",
                    "-c",
                    'umask 077; { "$@"; true; } >&2 & echo $!',
                    "sh",
                    self.binaries.program("postgres"),
                    "-D",
                    self.data,
                ],
                stderr=log,
                new_session=True,
            )
        finally:
            os.close(log)
        return int(shell.stdout)

    def _wait(self, supervisor: int | None, deadline: float) -> Postmaster | None:
        while time.monotonic() < deadline:
            launched = supervisor is not None and _arguments_of(supervisor) is not None
            postmaster = Postmaster.on(self.data)
            if postmaster is not None and postmaster.ready:
                return postmaster
            if postmaster is None and not launched:
                return None
            time.sleep(_POLL_SECONDS)
        return None

    def _log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def _abandon(self) -> None:
        if Postmaster.on(self.data) is not None:
            self._pg_ctl_stop("immediate")

    def _pg_ctl_stop(self, mode: str) -> str | None:
        """None when the server is gone, else what pg_ctl said."""
        program = self.binaries.program("pg_ctl")
        answer = self.account.run(
            [program, "stop", "-D", self.data, "-m", mode, "-w", "-t", str(_STOP_SECONDS), "-s"]
        )
        return None if Postmaster.on(self.data) is None else answer.stderr.strip()


def _arguments_of(pid: int) -> list[str] | None:
    """What a process was started with: tells a server from a process that was given a dead one's id.

    None where the process has ended, be it as a zombie.
    """
    import psutil  # type: ignore[import-untyped]

    try:
        arguments: list[str] = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return None
    return arguments


def _append(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "w", encoding="utf-8") as file:
        file.write(text)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LOG_LINES:])
