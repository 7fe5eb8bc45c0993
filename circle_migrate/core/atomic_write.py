"""Atomic replacement of files."""

import errno
import os
from pathlib import Path

from circle_migrate.core.errors import UsageError

_NO_NEIGHBOUR = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)
"""Errors of a folder that takes no other file, or no replacement of one that is mounted into a container."""


def replace_file(
    path: Path, content: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """Replace the content of a file atomically: a reader sees the old content or the new.

    The umask applies to `mode`; `owner` is a user id and a group id. Raises `OSError`.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, hint: str | None = None, make_folders: bool = False) -> None:
    """Write a text file in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode(), hint=hint, make_folders=make_folders)


def write_bytes(path: Path, content: bytes, *, hint: str | None = None, make_folders: bool = False) -> None:
    """Write a file, atomically where its folder allows that.

    A link leads to its file, and a device or pipe is written to. Raises `UsageError`.
    """
    try:
        target = Path(os.path.realpath(path))
        if make_folders:
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if target.exists() and not target.is_file():
                target.write_bytes(content)
            else:
                replace_file(target, content, mode=0o666)
        except OSError as error:
            if error.errno not in _NO_NEIGHBOUR or not target.is_file():
                raise
            target.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written", detail=error.strerror, hint=hint) from error
