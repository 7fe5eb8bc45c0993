"""The operating system user of PostgreSQL: the current user, or another one for root, which it refuses."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from circle_migrate.core.errors import SettingsError, Unreachable

# The first is the wheel's own choice, so that the wheel and circle-migrate share a user.
_UNPRIVILEGED = ("pgserver", "postgres")

# A server outlives this process, so it does not inherit the environment, which may contain passwords.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True)
class OsUser:
    """A user id and a group id for running programs of PostgreSQL."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> Self:
        """Return the effective user of this process."""
        return cls(os.geteuid(), os.getegid())

    @classmethod
    def owner_of(cls, path: Path) -> Self:
        """Return the owner of a file, folder or link, without following the link."""
        state = path.lstat()
        return cls(state.st_uid, state.st_gid)

    @classmethod
    def unprivileged(cls) -> Self:
        """Return the user of root's server; create it if needed. Raises SettingsError if `useradd` fails."""
        for name in _UNPRIVILEGED:
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        _add_user(_UNPRIVILEGED[0])
        entry = pwd.getpwnam(_UNPRIVILEGED[0])
        return cls(entry.pw_uid, entry.pw_gid)

    @property
    def name(self) -> str:
        """The login name, or `uid 1234` without one."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"

    def run(
        self, argv: Sequence[str | Path], *, stderr: int = subprocess.PIPE, new_session: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in `/`, with an empty environment. Raises Unreachable if it cannot be started."""
        switch_user = self.uid != os.geteuid()
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
                user=self.uid if switch_user else None,
                group=self.gid if switch_user else None,
                extra_groups=[] if switch_user else None,
            )
        except OSError as error:
            raise Unreachable(
                f"{argv[0]} cannot be run as user {self.name}", detail=error.strerror
            ) from error

    def can_reach(self, folder: Path) -> bool:
        """Return whether this user can reach the folder; `test` runs as this user."""
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", folder]).returncode == 0

    def take_ownership(self, folder: Path) -> None:
        """Make a folder this user's, mode 0700. Raises OSError for a link, SettingsError for another's."""
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
    argv = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        message = "PostgreSQL refuses to run as root, and useradd is missing to create a user for it"
        raise SettingsError(message, hint=hint) from error
    except subprocess.CalledProcessError as error:
        message = f"PostgreSQL refuses to run as root, and the user {name} could not be created"
        raise SettingsError(message, detail=error.stderr.strip(), hint=hint) from error
