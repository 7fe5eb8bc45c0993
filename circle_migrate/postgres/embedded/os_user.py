"""The operating system user PostgreSQL runs as: we or, since it refuses uid 0, somebody else for root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from circle_migrate.core.errors import SettingsError, Unreachable

# The wheel's own choice comes first, so that both find the user the other one made.
_UNPRIVILEGED = ("pgserver", "postgres")

# Nothing of our environment reaches a server that outlives us: it may hold passwords, PG* and LC_*.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True)
class OsUser:
    """A user and group id; the programs of PostgreSQL are run with exactly these."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> OsUser:
        """Who we are."""
        return cls(os.geteuid(), os.getegid())

    @classmethod
    def owner_of(cls, path: Path) -> OsUser:
        """Who owns the file or folder; a link itself, not what it points to."""
        facts = path.lstat()
        return cls(facts.st_uid, facts.st_gid)

    @classmethod
    def unprivileged(cls) -> OsUser:
        """The user a server started by root runs as; made when the machine has none.

        Raises:
            SettingsError: there is none and `useradd` is absent or fails.
        """
        for name in _UNPRIVILEGED:
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        _add_user(_UNPRIVILEGED[0])
        entry = pwd.getpwnam(_UNPRIVILEGED[0])
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def name(self) -> str:
        """The login name, or `uid 1234` where the machine knows none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        stderr: int = subprocess.PIPE,
        new_session: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in `/`, without our environment; the caller judges its exit status.

        Raises:
            Unreachable: the program cannot be run at all.
        """
        foreign = self.uid != os.geteuid()
        try:
            return subprocess.run(
                argv,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                errors="replace",
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=new_session,
                user=self.uid if foreign else None,
                group=self.gid if foreign else None,
                extra_groups=[] if foreign else None,
            )
        except OSError as error:
            raise Unreachable(
                f"{argv[0]} cannot be run as user {self.name}", detail=error.strerror
            ) from error

    def can_reach(self, folder: Path) -> bool:
        """Whether the folder can be reached through all its parents; asked of the kernel, as that user."""
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", folder]).returncode == 0

    def take_ownership(self, folder: Path) -> None:
        """Make a folder this user's alone (0700).

        Raises:
            OSError: it is a link or no folder.
            SettingsError: it belongs to a third user, who may have put it there to catch us.
        """
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            owner = os.fstat(handle).st_uid
            if owner not in {self.uid, os.geteuid()}:
                raise SettingsError(f"{folder} belongs to user {OsUser(owner, -1).name}, not to {self.name}")
            if owner != self.uid:
                os.fchown(handle, self.uid, self.gid)
            os.fchmod(handle, 0o700)
        finally:
            os.close(handle)


def _add_user(name: str) -> None:
    hint = f"create a user named {name}, or run the command as an ordinary user"
    try:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        message = "PostgreSQL refuses to run as root and there is no useradd to make a user for it"
        raise SettingsError(message, hint=hint) from error
    except subprocess.CalledProcessError as error:
        message = f"PostgreSQL refuses to run as root and user {name} could not be made"
        raise SettingsError(message, detail=error.stderr.strip(), hint=hint) from error
