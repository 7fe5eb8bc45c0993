"""Files under the user's cache folder: private, replaced as a whole, and never a reason to fail.

Where the folder lies follows the XDG Base Directory Specification
(https://specifications.freedesktop.org/basedir-spec/latest/).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from circle_migrate.core.atomic_write import replace_file

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_file(key: str) -> CacheFile | None:
    """The file for what `key` names; None where the user has no cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):  # the specification: a relative path counts as none
        home = os.environ.get("HOME", "")
        base = f"{home}/.cache" if home.startswith("/") else ""
    if not base:
        return None
    import hashlib

    name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
    return CacheFile(Path(base, "circle-migrate", name))


class CacheFile:
    """One file, used only where it is ours alone: no link, not another user's, not for others to write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """Its content; None where there is none, or none to be relied on."""
        try:
            # A pipe in its place must not keep us waiting.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return file.read() if _is_private(os.fstat(descriptor), stat.S_IFREG) else None
        except OSError:
            return None

    def write(self, content: bytes) -> None:
        """Replace its content at once, so that whoever reads meanwhile sees the old or the new one."""
        with suppress(OSError):
            if self._make_folder():
                replace_file(self._path, content)

    def _make_folder(self) -> bool:
        """Whether the folder is there and ours; up to two levels are made, below what is ours only."""
        folder, cache = self._path.parent, self._path.parents[1]
        existing = next((path for path in (folder, cache, cache.parent) if path.exists()), None)
        if existing is None or existing.stat().st_uid != os.geteuid():
            return False  # sudo keeps HOME: root's folder in it would lock its owner out
        cache.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return _is_private(folder.lstat(), stat.S_IFDIR)


def _is_private(state: os.stat_result, kind: int) -> bool:
    return (
        stat.S_IFMT(state.st_mode) == kind
        and state.st_uid == os.geteuid()
        and not state.st_mode & _OTHERS_MAY_WRITE
    )
