"""A temporary server of the wheel's PostgreSQL; the next run removes servers of killed runs.

circle-migrate-scratch-1000/    private folder in /dev/shm if there is space, else in /tmp or /var/tmp
├── lock                        locked (flock) while a folder is created and while stale ones are removed
└── 5f0c.../                    one server
    ├── lock                    locked by the run that uses the server, until that run ends
    ├── pgdata/
    ├── server.log
    └── socket/
"""

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
from typing import Self
from urllib.parse import quote

from circle_migrate.core.errors import SettingsError, Unreachable
from circle_migrate.postgres.embedded.binaries import Binaries
from circle_migrate.postgres.embedded.cluster import NOT_DURABLE, PORT, Cluster, Postmaster
from circle_migrate.postgres.embedded.os_user import OsUser

TEMPORARY = (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - fixed, to find stale servers

# A server has 1,000 files, a database 300 more: in memory, creating them takes at most half the time.
_MEMORY = Path("/dev/shm")  # noqa: S108
_ROOM = 1 << 30
"""Free bytes that a server in memory requires. A new one needs 40 MB; most containers have 64 MB."""

_LOCK = "lock"
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class TemporaryServer:
    """A running temporary server, and the descriptor of its lock."""

    cluster: Cluster
    lock: int

    @property
    def url(self) -> str:
        """The URL of the maintenance database."""
        return f"postgresql://postgres@/postgres?host={quote(str(_socket(self.cluster)))}&port={PORT}"

    @classmethod
    def start(cls, binaries: Binaries) -> Self:
        """Remove killed runs' servers, start a new one; blocks. Raises `SettingsError`, `Unreachable`."""
        account = OsUser.current() if os.geteuid() != 0 else OsUser.unprivileged()
        home = _home()
        for path in (home, *_other_homes(home)):
            with _locked(path / _LOCK):
                for folder in path.iterdir():
                    if folder.is_dir() and not folder.is_symlink():
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
            server.cluster.create_temporary()
            server.cluster.configure(_socket(server.cluster), NOT_DURABLE)
            server.cluster.start()
        except BaseException:
            server.remove()
            raise
        return server

    def remove(self) -> None:
        """Stop the server and delete its folder. Blocks."""
        try:
            _remove(self.cluster.data.parent)
        finally:
            os.close(self.lock)


def _socket(cluster: Cluster) -> Path:
    return cluster.data.with_name("socket")


def _home() -> Path:
    """Return the folder of this user's temporary servers; a folder of another user is not used."""
    refusals = []
    for temporary in TEMPORARY:
        home = _home_in(temporary)
        try:
            if temporary == _MEMORY and not (
                temporary.exists() and shutil.disk_usage(temporary).free >= _ROOM
            ):
                continue
            with suppress(FileExistsError):
                home.mkdir(mode=0o700)
            OsUser.current().take_ownership(home)
            home.chmod(_mode())
        except (SettingsError, OSError) as error:
            refusals.append(str(error))
        else:
            return home
    raise SettingsError(
        "there is no folder for a temporary server",
        detail="\n".join(refusals),
        hint="make /tmp writable, or use another server for scratch databases: --scratch-url URL",
    )


def _home_in(temporary: Path) -> Path:
    return temporary / f"circle-migrate-scratch-{os.geteuid()}"


def _other_homes(home: Path) -> list[Path]:
    """Return this user's other folders, used when more or less space was free."""
    paths = []
    for other in map(_home_in, TEMPORARY):
        with suppress(OSError):
            if other != home and other.lstat().st_uid == os.geteuid() and not other.is_symlink():
                paths.append(other)
    return paths


def _mode() -> int:
    """Return the mode of the folders; root's servers run as another user, who must reach them."""
    return 0o755 if os.geteuid() == 0 else 0o700


def _remove_unless_used(folder: Path) -> None:
    try:
        lock = _open(folder / _LOCK)
    except FileNotFoundError:
        return  # its run has removed it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
    except (BlockingIOError, Unreachable):
        return  # in use, or left to the next run
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Stop the server without a checkpoint, and delete its folder. Raises `Unreachable` if that fails."""
    deadline = time.monotonic() + _STOP_SECONDS
    stopped_pid = None
    while (postmaster := Postmaster.on(folder / "pgdata")) is not None:
        if postmaster.pid != stopped_pid:
            with suppress(ProcessLookupError):
                os.kill(postmaster.pid, signal.SIGQUIT)
            stopped_pid = postmaster.pid
        if time.monotonic() > deadline:
            raise Unreachable(
                f"the temporary server in {folder} did not stop", hint=f"run kill -9 {postmaster.pid}"
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
