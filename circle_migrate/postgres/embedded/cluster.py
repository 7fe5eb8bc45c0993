"""A PostgreSQL data directory: create and configure it, start and stop its server."""

import gzip
import io
import json
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from circle_migrate.core.atomic_write import replace_file
from circle_migrate.core.cache import cache_file
from circle_migrate.core.errors import Unreachable
from circle_migrate.postgres.embedded.binaries import Binaries
from circle_migrate.postgres.embedded.os_user import OsUser

PORT = 5432  # only part of the name of the socket: every server has its own socket folder
CONFIGURATION = "circle_migrate.conf"

NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
"""Settings of a server whose data is not needed after a crash."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_START_SECONDS = 60.0
_STOP_SECONDS = 60
_POLL_SECONDS = 0.02
_LOG_LINES = 15
# The builtin locale provider (17 and later) does not depend on the locales of the machine.
_BUILTIN_LOCALE_SINCE = 17


@dataclass(frozen=True)
class Postmaster:
    """A running server as in its `postmaster.pid` (src/include/utils/pidfile.h in PostgreSQL's source)."""

    pid: int
    port: int
    socket_dir: Path
    ready: bool

    @classmethod
    def on(cls, data: Path) -> Self | None:
        """Return the server of a data directory; None if its file is absent, incomplete or stale."""
        try:
            text = (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None
        lines = text.splitlines()
        if len(lines) < 8 or str(data) not in (_arguments_of(int(lines[0])) or []):
            return None
        pid, port, socket_dir = int(lines[0]), int(lines[3]), Path(lines[4])
        return cls(pid, port, socket_dir, ready=lines[7].strip() == "ready")


@dataclass(frozen=True)
class Cluster:
    """A data directory, its log file, its programs and the user they run as."""

    data: Path
    log: Path
    binaries: Binaries
    account: OsUser

    def create_temporary(self) -> None:
        """Create the data directory of a temporary server: unpack one from the cache, or create and pack it.

        That takes a third of the time of initdb. Raises as `create`.
        """
        build = self.binaries.major, self.binaries.program("postgres").stat().st_size
        cache = cache_file(json.dumps(["data directory", *build, *self._options()]))
        archive = cache.read() if cache else None
        if archive is None or not self._unpack(archive):
            self.create("--no-sync")
            if cache:
                cache.write(self._pack())

    def create(self, *options: str) -> None:
        """Run initdb with additional `options` in a staging folder, and rename that folder.

        Local connections are trusted, because the socket folder is private; TCP connections are rejected even
        if a port is opened. Raises Unreachable if initdb fails; then nothing is left.
        """
        staging = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(staging, ignore_errors=True)  # left by a killed run
        staging.mkdir(mode=0o700)
        self.account.take_ownership(staging)
        program = self.binaries.program("initdb")
        initdb = self.account.run([program, f"--pgdata={staging}", *self._options(), *options])
        if initdb.returncode != 0:
            shutil.rmtree(staging, ignore_errors=True)
            raise Unreachable(
                f"initdb of PostgreSQL {self.binaries.major} failed for {self.data}",
                detail=_last_lines(initdb.stderr or initdb.stdout),
                state="nothing was left behind",
                hint="check free disk space and the permissions of the folder",
            )
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(staging / "postgresql.conf", flags), "w", encoding="utf-8") as file:
            file.write(f"\n# Lines below this one take precedence.\ninclude = '{CONFIGURATION}'\n")
        staging.rename(self.data)

    def _options(self) -> list[str]:
        """Return the options of initdb."""
        options = ["--username=postgres", "--auth-local=trust", "--auth-host=reject"]
        options += ["--encoding=UTF8", "--locale=C"]
        if self.binaries.major >= _BUILTIN_LOCALE_SINCE:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return options

    def _pack(self) -> bytes:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
            tar.add(self.data, ".")
        return archive.getvalue()

    def _unpack(self, archive: bytes) -> bool:
        """Unpack the data directory as its user; if that fails, return False and leave nothing."""
        packed = self.data.with_suffix(".tar")
        self.data.mkdir(mode=0o700)
        self.account.take_ownership(self.data)
        try:
            packed.write_bytes(gzip.decompress(archive))
            packed.chmod(0o644)
            # A program: tarfile takes five times as long, and keeps other threads from importing meanwhile.
            status = self.account.run(["tar", "-xpf", packed, "-C", self.data]).returncode
        except (OSError, EOFError, zlib.error, Unreachable):
            status = 1
        packed.unlink(missing_ok=True)
        if status:
            shutil.rmtree(self.data)
        return not status

    def configure(self, socket_folder: Path, settings: Mapping[str, str]) -> None:
        """Write the settings, with those of every server, to a file that postgresql.conf includes."""
        settings = {**_SETTINGS, "unix_socket_directories": str(socket_folder), **settings}
        lines = ["# circle-migrate writes this file at every start.\n"]
        for name, value in settings.items():
            lines.append("{} = '{}'\n".format(name, value.replace("\\", "\\\\").replace("'", "''")))
        owner = (self.account.uid, self.account.gid)
        replace_file(self.data / CONFIGURATION, "".join(lines).encode(), owner=owner)

    def start(self, seconds: float = _START_SECONDS) -> Postmaster:
        """Start the server, unless it is starting already, and wait until it takes connections.

        Raises Unreachable if it exits, or is stopped because it is not ready in time; `detail` is the end of
        its log.
        """
        deadline = time.monotonic() + seconds
        while True:
            before = len(self._log_text())
            supervisor = self._launch() if Postmaster.on(self.data) is None else None
            postmaster = self._wait(supervisor, deadline)
            if postmaster is not None:
                return postmaster
            log_tail = _last_lines(self._log_text()[before:])
            # After kill -9 of the postmaster, its backends exit by themselves, busy ones a little later.
            if "is still in use" in log_tail and time.monotonic() < deadline:
                time.sleep(0.5)
                continue
            if Postmaster.on(self.data) is not None:
                self._pg_ctl_stop("immediate")
            message = f"PostgreSQL {self.binaries.major} did not start on {self.data}"
            raise Unreachable(message, detail=log_tail, hint=f"see its log: {self.log}")

    def stop(self) -> None:
        """Stop the server (`fast`), or without a checkpoint. Raises Unreachable if it does not stop."""
        for mode in ("fast", "immediate"):
            message = self._pg_ctl_stop(mode)
            if message is None:
                return
        raise Unreachable(f"the PostgreSQL on {self.data} did not stop", detail=message)

    def _launch(self) -> int:
        """Start the server in its own session; return the process id of the shell that waits for it.

        If process 1 reaps no orphans (in most containers), a killed server without that shell would remain a
        zombie, whose id in postmaster.pid prevents the next start. (pg_ctl start has no such shell, and
        expands `$` in paths.)
        """
        script = 'umask 077; { "$@"; true; } >&2 & echo $!'
        program = self.binaries.program("postgres")
        argv: list[str | Path] = ["/bin/sh", "-c", script, "sh", program, "-D", self.data]
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            shell = self.account.run(argv, stderr=log, new_session=True)
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

    def _pg_ctl_stop(self, mode: str) -> str | None:
        """Return None if the server has stopped, else the message of pg_ctl."""
        program = self.binaries.program("pg_ctl")
        process = self.account.run(
            [program, "stop", "-D", self.data, "-m", mode, "-w", "-t", str(_STOP_SECONDS), "-s"]
        )
        return None if Postmaster.on(self.data) is None else process.stderr.strip()


def _arguments_of(pid: int) -> list[str] | None:
    """Return the arguments of a process, which show whether its id was reused; None if it has ended."""
    import psutil  # type: ignore[import-untyped]

    try:
        arguments: list[str] = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return None
    return arguments


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LOG_LINES:])
