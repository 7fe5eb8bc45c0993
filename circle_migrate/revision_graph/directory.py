"""The folder of revisions of a database: where it is and which of its files are revisions."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from circle_migrate.core.errors import SettingsError, TreeError

_ASSIGNMENT = re.compile(rb"^\s*revision\b[^=\n]*=", re.MULTILINE)


def versions_folder(folder: Path) -> Path:
    """Where the files lie: the folder itself, or `versions` in it where it is an Alembic environment.

    A clone of an environment without revisions has no `versions`, as Git keeps no empty folder.
    """
    inner = folder / "versions"
    try:
        environment = (folder / "env.py").is_file()
        if not inner.is_dir():
            return inner if environment else folder
        environment = environment or not any(is_revision_file(path.name) for path in folder.iterdir())
    except OSError:
        return folder  # listing it raises the error
    return inner if environment else folder


SQUASHED = "squashed"
"""The folder beside revision files in which `squash` writes. Plain Alembic does not read it, so that it goes
on with the replaced files, without a second head."""


def revision_folders(configured: Iterable[Path], *, recursive: bool) -> tuple[Path, ...]:
    """Return the folders that have revision files: those of environments, with `recursive` all below them.

    Each is followed by its folder of squashed revisions, if it has one.
    """
    folders = [versions_folder(folder) for folder in configured]
    if recursive:
        folders = [Path(path) for folder in folders for path in _walk(folder)]
    pairs = ((folder, folder / SQUASHED) for folder in folders)
    existing = (
        path for folder, inner in pairs for path in (folder, inner) if path is folder or path.is_dir()
    )
    return tuple(dict.fromkeys(existing))


def _walk(folder: Path) -> Iterator[str]:
    """Yield a folder and all folders below it, sorted; without hidden ones and those of bytecode."""
    for path, names, _ in os.walk(folder):
        yield path
        names[:] = sorted(name for name in names if not name.startswith((".", "__pycache__")))


def ensure_nothing_elsewhere(database: str, configured: Iterable[Path]) -> None:
    """Raise `SettingsError` where folders without a revision have some in folders that are not searched."""
    for folder in configured:
        for path in map(Path, _walk(folder)):
            for file in sorted(path.iterdir()):
                if is_revision_file(file.name) and file.is_file() and _ASSIGNMENT.search(file.read_bytes()):
                    raise SettingsError(
                        f"{database} has no revision in {versions_folder(folder)}, but {file} is one",
                        database=database,
                        hint=f"name its folder in `revisions` of [tool.circle-migrate.databases.{database}], "
                        "or set recursive_version_locations = true in alembic.ini",
                    )


def is_revision_file(name: str) -> bool:
    """Whether a file is a revision by Alembic's rule: Python, neither `__init__` nor hidden."""
    return name.endswith(".py") and not name.startswith((".", "__init__"))


def file_names(database: str, folder: Path) -> list[str]:
    """Return the names of the revision files, sorted. Raises `TreeError` where the folder cannot be read."""
    try:
        return sorted(filter(is_revision_file, os.listdir(folder)))  # noqa: PTH208 - names suffice
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (folder.parent / "env.py").is_file():
            return []
        raise TreeError(
            f"the revisions of {database} cannot be read from {folder}",
            database=database,
            detail=error.strerror,
            hint=f"correct `revisions` in [tool.circle-migrate.databases.{database}]",
        ) from error
