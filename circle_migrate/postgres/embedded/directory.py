"""The folder of one embedded server: what lies in it, whose it is, and who may work on it now.

postgres/                       the folder the caller names; or a link to one under /var/lib (see `settle`)
├── circle-migrate-server.txt   the marker: only a folder with it is ever used again or emptied
├── lock                        held (flock) by whoever starts, stops or deletes the server
├── pgdata/                     PostgreSQL's data directory, 0700, owned by the user the server runs as
├── server.log
└── socket/                     0700; somewhere shorter where the path is too long for a socket
"""

from __future__ import annotations

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

from circle_migrate.core.errors import LockNotObtained, MigrateError, SettingsError, Unreachable
from circle_migrate.postgres.embedded.binaries import SHARED
from circle_migrate.postgres.embedded.cluster import PORT
from circle_migrate.postgres.embedded.os_user import OsUser

MOVE_HINT = "choose another folder: CIRCLE_MIGRATE_EMBEDDED_DATA=FOLDER"

_MARKER = "circle-migrate-server.txt"
_MARKER_TEXT = """\
This folder holds a PostgreSQL server made by `circle-migrate dev start`.
`circle-migrate dev reset` stops the server and deletes everything it made here.
"""
_LOCK = "lock"
_LOCK_SECONDS = 180.0  # a first start on a slow disk, twice
_POLL_SECONDS = 0.05

# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, with the zero at the end.
_SOCKET_BYTES = 103
# What needs no quoting in a URL, in postmaster.pid or in a list of hosts.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 -- not $TMPDIR, which is long and differs by session


@dataclass(frozen=True)
class ServerFolder:
    """An absolute folder without links; `at` makes one from what the user typed."""

    path: Path

    @classmethod
    def at(cls, requested: Path) -> ServerFolder:
        """The folder behind a path, which need not exist.

        Raises:
            SettingsError: the name holds a line break, which PostgreSQL's own files cannot carry.
        """
        path = requested.resolve()
        if "\n" in str(path) or "\r" in str(path):
            raise SettingsError(f"the folder's name has a line break: {str(path)!r}", hint=MOVE_HINT)
        return cls(path)

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's data directory."""
        return self.path / "pgdata"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.path / "server.log"

    @property
    def is_ours(self) -> bool:
        """Whether this package made it."""
        return (self.path / _MARKER).is_file()

    @property
    def major(self) -> int | None:
        """The data's PostgreSQL version; None before the first start."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Refuse what is not ours to use: no folder, somebody else's files, somebody else's server.

        Raises:
            SettingsError: with what it is.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise SettingsError(f"{self.path} is not a folder", hint=MOVE_HINT)
        self._check_owner(self.path)
        if not self.is_ours and any(entry.name != _LOCK for entry in self.path.iterdir()):
            raise SettingsError(
                f"{self.path} holds files that circle-migrate did not make", state="untouched", hint=MOVE_HINT
            )
        self._check_owner(self.pgdata)

    def os_user(self) -> OsUser:
        """Who the server runs as: we; for root the owner of the data, else of the folder, else some user.

        Raises:
            SettingsError: root has no other user to run PostgreSQL as.
        """
        if os.geteuid() != 0:
            return OsUser.current()
        for path in (self.pgdata, self.path):
            if path.exists() and (owner := OsUser.owner_of(path)).uid != 0:
                return owner
        return OsUser.unprivileged()

    def resolve_location(self, account: OsUser) -> ServerFolder:
        """This folder or, where the server's user cannot reach it (below /root, say), one under /var/lib.

        The wanted place becomes a link to it. The parents' permissions are left as they are.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.pgdata.exists() or account.can_reach(self.path if self.path.exists() else self.path.parent):
            return self
        substitute = self._substitute()
        substitute.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.path.rmdir()
        with suppress(FileExistsError):
            self.path.symlink_to(substitute.path)
        return substitute

    @contextmanager
    def locked(self, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """Claim the folder (make and mark it if need be) and be the only one to change it.

        Raises:
            LockNotObtained: another process kept it for too long.
        """
        handle = self._lock(time.monotonic() + seconds)
        try:
            yield
        finally:
            os.close(handle)

    def socket_folder(self, account: OsUser) -> Path:
        """A private folder (0700, the account's) short and plain enough for a socket, the same every time.

        Raises:
            SettingsError: every candidate belongs to somebody else.
        """
        inside = self.path / "socket"
        name = f".s.PGSQL.{PORT}"
        if _PLAIN.fullmatch(str(inside)) and len(os.fsencode(inside / name)) <= _SOCKET_BYTES:
            return _private(inside, account)
        refusals = []
        for temporary in _TEMPORARY:
            try:
                return _private(_private(temporary / _user_folder(account), account) / self._digest, account)
            except (SettingsError, OSError) as error:
                refusals.append(str(error))
        message = f"no private folder for the server's socket, and {self.path} is too long for one"
        raise SettingsError(message, detail="\n".join(refusals), hint=MOVE_HINT)

    def delete(self, account: OsUser) -> None:
        """Remove what we made, and only that; the caller holds the lock and has stopped the server."""
        for temporary in _TEMPORARY:
            shutil.rmtree(temporary / _user_folder(account) / self._digest, ignore_errors=True)
        for folder in (self.pgdata, self.pgdata.with_name("pgdata.new"), self.path / "socket"):
            if folder.exists():
                shutil.rmtree(folder)
        # The marker before the lock: whoever waits finds a folder that is his to claim anew.
        for file in (self.log, self.path / _MARKER, self.path / _LOCK):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: claimed again, or the user's own files
            self.path.rmdir()

    @property
    def _digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]

    def _substitute(self) -> ServerFolder:
        return ServerFolder(SHARED / f"{self.path.name[:40]}-{self._digest}")

    def _check_owner(self, path: Path) -> None:
        if not path.exists():
            return
        owner, me = OsUser.owner_of(path), OsUser.current()
        if path == self.pgdata and owner.uid == 0:
            raise SettingsError(
                f"{path} belongs to root, and PostgreSQL refuses to run as root",
                hint=f"chown -R it to an ordinary user, or {MOVE_HINT}",
            )
        if me.uid != 0 and owner.uid not in {0, me.uid}:
            message = f"the server in {self.path} belongs to user {owner.name}, and you are {me.name}"
            raise SettingsError(message, hint=MOVE_HINT)

    def _claim(self) -> None:
        """Make the folder and mark it as ours; nobody else may write in it, since that would allow a swap."""
        root = os.geteuid() == 0
        self.path.mkdir(mode=0o755 if root else 0o700, parents=True, exist_ok=True)
        self.check()
        if self.is_ours:
            return
        facts = self.path.stat()
        if facts.st_uid == os.geteuid():
            self.path.chmod(stat.S_IMODE(facts.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
        with suppress(FileExistsError), (self.path / _MARKER).open("x", encoding="utf-8") as marker:
            marker.write(_MARKER_TEXT)

    def _lock(self, deadline: float) -> int:
        while True:
            self._claim()
            handle = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                _flock(handle, self.path, deadline)
                # A reset may have deleted the file we waited for; a lock on it would exclude nobody.
                if _same_file(handle, self.path / _LOCK):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)


def drop_link(requested: Path) -> None:
    """Remove what `settle` left at the wanted place, once what it leads to is deleted."""
    if requested.is_symlink() and requested.readlink().parent == SHARED and not requested.exists():
        requested.unlink()


@contextmanager
def filesystem_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error of ours."""
    try:
        yield
    except OSError as error:
        message = f"the embedded server's folder {path} cannot be used"
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        failure: type[MigrateError] = Unreachable if full else SettingsError
        raise failure(message, detail=str(error), hint=MOVE_HINT) from error


def _private(path: Path, account: OsUser) -> Path:
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
                raise LockNotObtained(message, hint="wait for it, then try again") from None
            time.sleep(_POLL_SECONDS)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
