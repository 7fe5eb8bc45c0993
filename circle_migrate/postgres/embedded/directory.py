"""The folder of an embedded server: its contents, its owner and its lock.

postgres/                       the requested folder, or a link to one below /var/lib (see `resolve_location`)
├── circle-migrate-server.txt   the marker: only a folder with it is reused or deleted
├── lock                        locked (flock) by the process that starts, stops or deletes the server
├── pgdata/                     PostgreSQL's data directory, 0700, owned by the user of the server
├── server.log
└── socket/                     0700; in /tmp or /var/tmp if this path is too long for a socket
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from circle_migrate.core.errors import LockNotObtained, MigrateError, SettingsError, Unreachable
from circle_migrate.postgres.embedded.binaries import SHARED
from circle_migrate.postgres.embedded.cluster import PORT
from circle_migrate.postgres.embedded.os_user import OsUser

MOVE_HINT = "set another folder: CIRCLE_MIGRATE_EMBEDDED_DATA=FOLDER"

_MARKER = "circle-migrate-server.txt"
_MARKER_TEXT = """\
This folder holds a PostgreSQL server made by `circle-migrate dev start`.
`circle-migrate dev reset` stops the server and deletes everything it made here.
"""
_LOCK = "lock"
_LOCK_SECONDS = 180.0  # twice the time of a first start on a slow disk
_POLL_SECONDS = 0.05

# sun_path has 108 bytes on Linux, 104 on macOS and the BSDs, including the final zero byte.
_SOCKET_BYTES = 103
# Characters that need no quoting in a URL, in postmaster.pid and in a list of hosts.
_UNQUOTED = re.compile(r"[A-Za-z0-9/._-]+")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - $TMPDIR is long and differs by session


@dataclass(frozen=True)
class ServerFolder:
    """The folder of an embedded server, an absolute path without links."""

    path: Path

    @classmethod
    def at(cls, requested: Path) -> Self:
        """Resolve a path. Raises SettingsError for a line break, which PostgreSQL's files do not support."""
        path = requested.resolve()
        if "\n" in str(path) or "\r" in str(path):
            raise SettingsError(f"the folder {str(path)!r} has a line break in its name", hint=MOVE_HINT)
        return cls(path)

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's data directory."""
        return self.path / "pgdata"

    @property
    def log(self) -> Path:
        """The log of the server."""
        return self.path / "server.log"

    @property
    def is_ours(self) -> bool:
        """Whether circle-migrate created the folder."""
        return (self.path / _MARKER).is_file()

    @property
    def major(self) -> int | None:
        """The major version of the data; None before the first start."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Raise SettingsError if the path is not a folder, has other files, or is another user's."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise SettingsError(f"{self.path} is not a folder", hint=MOVE_HINT)
        self._check_owner(self.path)
        if not self.is_ours and any(entry.name != _LOCK for entry in self.path.iterdir()):
            message = f"{self.path} has files that circle-migrate did not create"
            raise SettingsError(message, state="nothing was changed", hint=MOVE_HINT)
        self._check_owner(self.pgdata)

    def os_user(self) -> OsUser:
        """Return the current user; for root, the owner of the data or the folder, or an unprivileged user.

        Raises SettingsError if root has no other user to run PostgreSQL as.
        """
        if os.geteuid() != 0:
            return OsUser.current()
        for path in (self.pgdata, self.path):
            if path.exists() and (owner := OsUser.owner_of(path)).uid != 0:
                return owner
        return OsUser.unprivileged()

    def resolve_location(self, account: OsUser) -> "ServerFolder":
        """Return this folder, or one below /var/lib if the server's user cannot reach it (below /root).

        The requested path becomes a link to that folder. Permissions of its parents are not changed.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.pgdata.exists() or account.can_reach(self.path if self.path.exists() else self.path.parent):
            return self
        substitute = ServerFolder(SHARED / f"{self.path.name[:40]}-{self._digest}")
        substitute.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.path.rmdir()
        with suppress(FileExistsError):
            self.path.symlink_to(substitute.path)
        return substitute

    @contextmanager
    def locked(self, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """Create, mark and lock the folder. Raises LockNotObtained if another process keeps the lock."""
        handle = self._lock(time.monotonic() + seconds)
        try:
            yield
        finally:
            os.close(handle)

    def socket_folder(self, account: OsUser) -> Path:
        """Return the account's private folder (0700) for a socket, always the same. Raises SettingsError."""
        inside = self.path / "socket"
        name = f".s.PGSQL.{PORT}"
        if _UNQUOTED.fullmatch(str(inside)) and len(os.fsencode(inside / name)) <= _SOCKET_BYTES:
            return _create_private(inside, account)
        refusals = []
        for temporary in _TEMPORARY:
            try:
                parent = _create_private(temporary / _user_folder(account), account)
                return _create_private(parent / self._digest, account)
            except (SettingsError, OSError) as error:
                refusals.append(str(error))
        message = f"there is no private folder for the server's socket, and the path {self.path} is too long"
        raise SettingsError(message, detail="\n".join(refusals), hint=MOVE_HINT)

    def delete(self, account: OsUser) -> None:
        """Delete only what circle-migrate created; the caller holds the lock and has stopped the server."""
        for temporary in _TEMPORARY:
            shutil.rmtree(temporary / _user_folder(account) / self._digest, ignore_errors=True)
        for folder in (self.pgdata, self.pgdata.with_name("pgdata.new"), self.path / "socket"):
            if folder.exists():
                shutil.rmtree(folder)
        # The marker before the lock: a waiting process can then create the folder anew.
        for file in (self.log, self.path / _MARKER, self.path / _LOCK):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: used again, or with files of the user
            self.path.rmdir()

    @property
    def _digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]

    def _check_owner(self, path: Path) -> None:
        if not path.exists():
            return
        owner, me = OsUser.owner_of(path), OsUser.current()
        if path == self.pgdata and owner.uid == 0:
            raise SettingsError(
                f"{path} belongs to root, and PostgreSQL refuses to run as root",
                hint=f"change its owner with chown -R to an ordinary user, or {MOVE_HINT}",
            )
        if me.uid != 0 and owner.uid not in {0, me.uid}:
            message = f"the server in {self.path} belongs to user {owner.name}, and you are {me.name}"
            raise SettingsError(message, hint=MOVE_HINT)

    def _claim(self) -> None:
        """Create and mark the folder; only its owner may write in it, or others could replace its files."""
        root = os.geteuid() == 0
        self.path.mkdir(mode=0o755 if root else 0o700, parents=True, exist_ok=True)
        self.check()
        if self.is_ours:
            return
        state = self.path.stat()
        if state.st_uid == os.geteuid():
            self.path.chmod(stat.S_IMODE(state.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
        with suppress(FileExistsError), (self.path / _MARKER).open("x", encoding="utf-8") as marker:
            marker.write(_MARKER_TEXT)

    def _lock(self, deadline: float) -> int:
        while True:
            self._claim()
            handle = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                _flock(handle, self.path, deadline)
                # A reset may have deleted the locked file; its lock would then have no effect.
                if _same_file(handle, self.path / _LOCK):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)


def drop_link(requested: Path) -> None:
    """Remove the link that `resolve_location` created, if its target is deleted."""
    if requested.is_symlink() and requested.readlink().parent == SHARED and not requested.exists():
        requested.unlink()


@contextmanager
def filesystem_errors(path: Path) -> Iterator[None]:
    """Convert errors of the file system to named errors."""
    try:
        yield
    except OSError as error:
        message = f"the embedded server's folder {path} cannot be used"
        disk_is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        kind: type[MigrateError] = Unreachable if disk_is_full else SettingsError
        raise kind(message, detail=str(error), hint=MOVE_HINT) from error


def _create_private(path: Path, account: OsUser) -> Path:
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    account.take_ownership(path)
    return path


def _user_folder(account: OsUser) -> str:
    return f"circle-migrate-{account.uid}"


def _flock(handle: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another process is starting, stopping or deleting the server in {folder}"
                raise LockNotObtained(message, hint="try again when it has finished") from None
            time.sleep(_POLL_SECONDS)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
