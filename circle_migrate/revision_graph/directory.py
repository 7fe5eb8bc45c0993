"""The folder of revisions of a database: where it is and which of its files are revisions."""

from __future__ import annotations

import os
from pathlib import Path

from circle_migrate.core.errors import TreeError


def versions_folder(folder: Path) -> Path:
    """Where the files lie: the folder itself, or `versions` in it where it is an Alembic environment."""
    inner = folder / "versions"
    try:
        if not inner.is_dir():
            return folder
        environment = (folder / "env.py").is_file() or not any(
            is_revision_file(path.name) for path in folder.iterdir()
        )
    except OSError:
        return folder  # whoever lists it says why it cannot be read
    return inner if environment else folder


def is_revision_file(name: str) -> bool:
    """Whether a file of that name counts as a revision.

    Alembic's own rule: every Python file but packages' `__init__` and what editors and systems hide.
    """
    return name.endswith(".py") and not name.startswith((".", "__init__"))


def file_names(database: str, folder: Path) -> list[str]:
    """Return the names of the revision files, sorted. Raises `TreeError` where the folder cannot be read."""
    try:
        return sorted(filter(is_revision_file, os.listdir(folder)))  # noqa: PTH208 - names suffice
    except OSError as error:
        raise TreeError(
            f"the revisions of {database} cannot be read from {folder}",
            database=database,
            detail=error.strerror,
            hint=f"correct `revisions` in [tool.circle-migrate.databases.{database}]",
        ) from error
