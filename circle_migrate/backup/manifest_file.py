"""The manifest of a backup as a file, and whether the files beside it are those it names.

The checksum in it shows damage and edits by mistake. It is no signature: who can write into the folder can
write another manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from circle_migrate.backup.manifest import FORMAT, Dump, Manifest
from circle_migrate.core.errors import BrokenBackup, UsageError

NAME = "manifest.json"

_KIND = "circle-migrate backup"


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder, for its owner alone, and see it on disk."""
    content = {"kind": _KIND, **manifest.to_dict()}
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False) + "\n"
    with os.fdopen(new_file(folder / NAME), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def new_file(path: Path) -> int:
    """The descriptor of a file that was not there before, which only its owner can read and write."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


def read(path: Path) -> tuple[Manifest, Path]:
    """The manifest in a file, or in the folder of that name, and the folder it is in.

    Raises `UsageError` where nothing can be read there, `BrokenBackup` for one that was edited or cut off,
    and for files that are no manifest or one of a newer format.
    """
    file = path / NAME if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read",
            detail=error.strerror,
            hint="name the manifest of a backup, or its folder; a backup without one was never completed",
        ) from error
    return _parsed(content, file), file.parent


def _parsed(content: bytes, file: Path) -> Manifest:
    try:
        stored: Any = json.loads(content)
        foreign = not isinstance(stored, dict) or stored.get("kind") != _KIND
    except ValueError as error:
        raise _broken(f"{file} is no manifest: it was cut off, or is another file") from error
    if foreign:
        raise _broken(f"{file} is no manifest of a backup by circle-migrate")
    if stored.get("format") != FORMAT:
        raise BrokenBackup(
            f"{file} has format {stored.get('format')}, and this version knows {FORMAT}",
            state="nothing was touched",
            hint=f"restore it with circle-migrate {stored.get('tool_version')}",
        )
    checksum = stored.pop("checksum", None)
    if checksum != _checksum(stored):
        raise _broken(f"{file} was edited or damaged: its checksum is another one")
    try:
        manifest = Manifest.from_dict(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(f"{file} lacks what a manifest has: {error}") from error
    for dump in manifest.dumps:
        if Path(dump.file).name != dump.file:
            raise _broken(f"{file} names a file outside of its folder: {dump.file}")
    return manifest


def verify(folder: Path, dump: Dump) -> None:
    """Raise `BrokenBackup` where a dump's file is missing or is not the one that was written."""
    path = folder / dump.file
    try:
        size = path.stat().st_size
        if size != dump.bytes:
            raise _broken(f"{path} has {size:,} bytes, and {dump.bytes:,} were written", dump.database)
        found = sha256(path)
    except OSError as error:
        raise _broken(f"{path} cannot be read: {error.strerror}", dump.database) from error
    if found != dump.sha256:
        raise _broken(f"{path} is not what was written: its SHA-256 is another one", dump.database)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _broken(message: str, database: str | None = None) -> BrokenBackup:
    return BrokenBackup(
        message, database=database, state="nothing was touched", hint="take another copy of the backup"
    )
