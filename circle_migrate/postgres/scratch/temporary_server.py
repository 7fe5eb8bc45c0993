"""A throw-away server of the wheel's PostgreSQL, in a temporary folder; the next run removes what is left.

circle-migrate-scratch-1000/    under /dev/shm where there is room, /tmp or /var/tmp; ours alone
├── lock                        held (flock) while a folder is made and while left-over ones are removed
└── 5f0c.../                    one server
    ├── lock                    held by the run it belongs to: free once that has ended, however it ended
    ├── pgdata/
    ├── server.log
    └── socket/
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from circle_migrate.core.errors import SettingsError, Unreachable
from circle_migrate.postgres.embedded.binaries import Binaries
from circle_migrate.postgres.embedded.cluster import PORT, Cluster, Postmaster
from circle_migrate.postgres.embedded.os_user import OsUser

TEMPORARY = (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - not $TMPDIR: left-overs are looked for

# Making a server makes 1,000 files and every database 300 more: in memory that takes half the time or less.
_MEMORY = Path("/dev/shm")  # noqa: S108
_ROOM = 1 << 30
"""Free bytes from which on a server may be in memory: it begins with 40 MB; most containers have 64."""

_LOCK = "lock"
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Nobody misses it after a crash.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


@dataclass(frozen=True, slots=True)
class TemporaryServer:
    """A running throw-away server, and the lock that says whose it is."""

    cluster: Cluster
    lock: int

    @property
    def url(self) -> str:
        """The URL of its maintenance database."""
        return f"postgresql://postgres@/postgres?host={quote(str(_socket(self.cluster)))}&port={PORT}"

    @classmethod
    def start(cls, binaries: Binaries) -> TemporaryServer:
        """Remove what killed runs have left, then make a server and start it. Blocks.

        Raises `SettingsError` where there is no folder for it, `Unreachable` where it does not start.
        """
        account = OsUser.current() if os.geteuid() != 0 else OsUser.unprivileged()
        home = _home()
        for path in (home, *_others(home)):
            with _locked(path / _LOCK):
                for folder in _folders(path):
                    _remove_unless_used(folder)
        with _locked(home / _LOCK):
            folder = home / secrets.token_hex(8)
            folder.mkdir(mode=_mode())
            lock = _open(folder / _LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX)
        data, log = folder / "pgdata", folder / "server.log"
        server = cls(Cluster(data, log, binaries.reachable_for(account), account), lock)
        try:
            _socket(server.cluster).mkdir()
            account.take_ownership(_socket(server.cluster))
            server.cluster.create("--no-sync")
            server.cluster.configure({**_SETTINGS, "unix_socket_directories": str(_socket(server.cluster))})
            server.cluster.start()
        except BaseException:
            server.remove()
            raise
        return server

    def remove(self) -> None:
        """Stop the server and delete all of it. Blocks."""
        try:
            _remove(self.cluster.data.parent)
        finally:
            os.close(self.lock)


def _socket(cluster: Cluster) -> Path:
    return cluster.data.with_name("socket")


def _home() -> Path:
    """The folder of all throw-away servers of this user; one that somebody else has put there is not used."""
    refusals = []
    for temporary in TEMPORARY:
        if temporary == _MEMORY and not _has_room(temporary):
            continue
        home = _home_in(temporary)
        try:
            with suppress(FileExistsError):
                home.mkdir(mode=0o700)
            OsUser.current().take_ownership(home)
            home.chmod(_mode())
        except (SettingsError, OSError) as error:
            refusals.append(str(error))
        else:
            return home
    raise SettingsError(
        "there is no folder for a throw-away server",
        detail="\n".join(refusals),
        hint="make /tmp writable, or name a server for scratch databases: --scratch-url URL",
    )


def _home_in(temporary: Path) -> Path:
    return temporary / f"circle-migrate-scratch-{os.geteuid()}"


def _has_room(memory: Path) -> bool:
    try:
        return shutil.disk_usage(memory).free >= _ROOM
    except OSError:
        return False  # not a Linux


def _others(home: Path) -> list[Path]:
    """Our folders elsewhere, from when there was more room or less; what is somebody else's is left alone."""
    paths = []
    for other in map(_home_in, TEMPORARY):
        with suppress(OSError):
            if other != home and other.lstat().st_uid == os.geteuid() and not other.is_symlink():
                paths.append(other)
    return paths


def _mode() -> int:
    """Root's servers run as somebody else, who has to get through to what is his."""
    return 0o755 if os.geteuid() == 0 else 0o700


def _folders(home: Path) -> list[Path]:
    return [entry for entry in home.iterdir() if entry.is_dir() and not entry.is_symlink()]


def _remove_unless_used(folder: Path) -> None:
    try:
        lock = _open(folder / _LOCK)
    except FileNotFoundError:
        return  # its own run has removed it meanwhile
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
    except (BlockingIOError, Unreachable):
        return  # in use, or for the next run to try
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Stop what runs there, without a checkpoint, and delete the folder.

    Raises `Unreachable` where the server does not end.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    stopped = None
    while (postmaster := Postmaster.on(folder / "pgdata")) is not None:
        if postmaster.pid != stopped:
            with suppress(ProcessLookupError):
                os.kill(postmaster.pid, signal.SIGQUIT)
            stopped = postmaster.pid
        if time.monotonic() > deadline:
            raise Unreachable(
                f"the throw-away server in {folder} did not stop", hint=f"end process {postmaster.pid}"
            )
        time.sleep(_POLL_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
