"""The folder of a tree: where its revision files lie, which files are ones, and in which state."""

from __future__ import annotations

import os
from pathlib import Path

from circle_migrate.errors import TreeError


def versions_folder(folder: Path) -> Path:
    """Where the files lie: the folder itself, or `versions` in it where it is an Alembic environment."""
    inner = folder / "versions"
    if not inner.is_dir():
        return folder
    environment = (folder / "env.py").is_file() or not any(
        is_revision_file(each.name) for each in folder.iterdir()
    )
    return inner if environment else folder


def is_revision_file(name: str) -> bool:
    """Whether a file of that name counts as a revision.

    Alembic's own rule: every Python file but packages' `__init__` and what editors and systems hide.
    """
    return name.endswith(".py") and not name.startswith((".", "__init__"))


def list_files(database: str, folder: Path) -> list[tuple[str, os.stat_result | None]]:
    """The revision files by name, each with its state on disk, None where that cannot be told.

    Raises `TreeError` where the folder cannot be read.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = sorted(filter(is_revision_file, os.listdir(descriptor)))  # noqa: PTH208 - Path takes no descriptor
            # Below a descriptor, as the way to the folder is not gone anew for each of thousands of files.
            return [(name, _state(name, descriptor)) for name in names]
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TreeError(
            f"the revisions of {database} cannot be read from {folder}",
            database=database,
            detail=error.strerror,
            hint=f"correct `revisions` in [tool.circle-migrate.databases.{database}]",
        ) from error


def _state(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder)
    except OSError:
        return None  # a link to nowhere: whoever reads the file says so
