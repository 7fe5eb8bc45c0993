"""Files in the user's cache folder: private, replaced atomically, and never a reason to fail.

The location of the folder follows the XDG Base Directory Specification
(https://specifications.freedesktop.org/basedir-spec/latest/).
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from circle_migrate.core.atomic_write import replace_file

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_file(key: str) -> "CacheFile | None":
    """Return the cache file for a key; None if the user has no cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):  # per the specification, a relative path is ignored
        home = os.environ.get("HOME", "")
        base = f"{home}/.cache" if home.startswith("/") else ""
    if not base:
        return None
    import hashlib

    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
    return CacheFile(Path(base, "circle-migrate", name))


class CacheFile:
    """A cache file, used only if it is no link and only the current user may write it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """Return the content; None if the file is absent or not private."""
        try:
            # O_NONBLOCK: a pipe at this path must not block.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return file.read() if _is_private(os.fstat(descriptor), stat.S_IFREG) else None
        except OSError:
            return None

    def write(self, content: bytes) -> None:
        """Replace the content atomically; failures are ignored."""
        with suppress(OSError):
            if self._make_folder():
                replace_file(self._path, content)

    def _make_folder(self) -> bool:
        """Create the folder and its parent if needed; return whether the folder is private."""
        folder, cache = self._path.parent, self._path.parents[1]
        existing = next((path for path in (folder, cache, cache.parent) if path.exists()), None)
        if existing is None or existing.stat().st_uid != os.geteuid():
            return False  # sudo keeps HOME: a folder made by root would lock its owner out
        cache.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return _is_private(folder.lstat(), stat.S_IFDIR)


def _is_private(state: os.stat_result, kind: int) -> bool:
    return (
        stat.S_IFMT(state.st_mode) == kind
        and state.st_uid == os.geteuid()
        and not state.st_mode & _OTHERS_MAY_WRITE
    )
