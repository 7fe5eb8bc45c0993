"""Atomic replacement of files."""

from __future__ import annotations

import os
from pathlib import Path


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
