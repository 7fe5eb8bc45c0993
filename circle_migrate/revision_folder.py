"""The folder of a tree: where its revision files lie, which files are ones, and in which state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from circle_migrate.errors import TreeError


def versions_folder(folder: Path) -> Path:
    """Where the files lie: the folder itself, or `versions` in it where it is an Alembic environment."""
    inner = folder / "versions"
    try:
        if not inner.is_dir():
            return folder
        environment = (folder / "env.py").is_file() or not any(
            is_revision_file(each.name) for each in folder.iterdir()
        )
    except OSError:
        return folder  # whoever lists it says why it cannot be read
    return inner if environment else folder


def is_revision_file(name: str) -> bool:
    """Whether a file of that name counts as a revision.

    Alembic's own rule: every Python file but packages' `__init__` and what editors and systems hide.
    """
    return name.endswith(".py") and not name.startswith((".", "__init__"))


class Listing:
    """The revision files of a folder in order, each with its state, looked at in pieces or all at once.

    A state is one number for a file's size, times and inode: another one whenever any of them is. `folder`
    is that of the folder itself, which changes whenever one of its files is made, renamed or removed, as
    POSIX has it and Python's own imports rely on: where it is `known`, so are the `names`.
    """

    def __init__(self, database: str, folder: Path, known: int, names: list[bytes]) -> None:
        self.folder, self.names, self.states = known, names, list[int]()
        self._pieces = self._look(database, folder)

    def look(self) -> bool:
        """Look at some more files; whether there may be others. Raises as `finish` does."""
        return next(self._pieces, _DONE) is not _DONE

    def finish(self) -> None:
        """Look at all that is left. Raises `TreeError` where the folder cannot be read."""
        for _ in self._pieces:
            pass

    def _look(self, database: str, folder: Path) -> Iterator[None]:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                found = state_of(os.fstat(descriptor))
                if found != self.folder:
                    names = filter(is_revision_file, os.listdir(descriptor))  # noqa: PTH208 - a descriptor
                    self.names = sorted(map(os.fsencode, names))
                    self.folder = found
                yield from self._look_at_files(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._pieces = self._look(database, folder)  # whoever asks again hears it again
            raise TreeError(
                f"the revisions of {database} cannot be read from {folder}",
                database=database,
                detail=error.strerror,
                hint=f"correct `revisions` in [tool.circle-migrate.databases.{database}]",
            ) from error

    def _look_at_files(self, folder: int) -> Iterator[None]:
        for begin in range(0, len(self.names), _PIECE):
            self.states += _states(self.names[begin : begin + _PIECE], folder)
            yield


def _states(names: list[bytes], folder: int) -> list[int]:
    try:
        # Below a descriptor, as the way to the folder is not gone anew for each of thousands of files.
        return [state_of(os.stat(name, dir_fd=folder)) for name in names]
    except OSError:
        if len(names) == 1:
            return [_UNTOLD]  # a link to nowhere: whoever reads the file says so
        return [state for name in names for state in _states([name], folder)]


def state_of(file: os.stat_result) -> int:
    """One number for what is compared of a file, the same in every process, as only texts' hashes are not."""
    return hash(_compared(file))


_compared = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")

_UNTOLD = 0
"""In place of a state that cannot be told."""

_PIECE = 200
"""Files after which others have their turn: they take less than a millisecond."""

_DONE = object()
