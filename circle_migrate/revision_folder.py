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


def list_files(database: str, folder: Path) -> dict[str, os.stat_result | None]:
    """The revision files by name, each with its state on disk, None where that cannot be told.

    Raises `TreeError` where the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: _state(entry) for entry in entries if is_revision_file(entry.name)}
    except OSError as error:
        raise TreeError(
            f"the revisions of {database} cannot be read from {folder}",
            database=database,
            detail=error.strerror,
            hint=f"correct `revisions` in [tool.circle-migrate.databases.{database}]",
        ) from error
    return dict(sorted(found.items()))


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None  # a link to nowhere: whoever reads the file says so
