"""Read and write the manifest of a backup, and verify the dump files beside it.

The checksum in the manifest detects damage and accidental edits. It is not a signature: whoever can write to
the folder can write another manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from circle_migrate.backup.manifest import FORMAT, Dump, Manifest
from circle_migrate.core.errors import BrokenBackup, UsageError
from circle_migrate.core.json_file import parse_json, read_bounded

NAME = "manifest.json"

_KIND = "circle-migrate backup"


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder, readable only by its owner, and flush it to disk."""
    content = {"kind": _KIND, **manifest.to_dict()}
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False) + "\n"
    with os.fdopen(new_file(folder / NAME), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def new_file(path: Path) -> int:
    """Create a file that only its owner can read and write, and return its descriptor."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


def read(path: Path) -> tuple[Manifest, Path]:
    """Return the manifest at a path, which is the file or its folder, and the folder.

    Raises `UsageError` for a file that cannot be read, `BrokenBackup` for one that was edited or truncated,
    is not a manifest, or has another format.
    """
    file = path / NAME if path.is_dir() else path
    try:
        content = read_bounded(file)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read",
            detail=error.strerror,
            hint="give the manifest of a backup or its folder; a backup without a manifest is incomplete",
        ) from error
    return _parse(content, file), file.parent


def _parse(content: bytes, file: Path) -> Manifest:
    try:
        stored: Any = parse_json(content)
        is_foreign = not isinstance(stored, dict) or stored.get("kind") != _KIND
    except ValueError as error:
        raise _broken(f"{file} is not a manifest: it was truncated, or it is another file") from error
    if is_foreign:
        raise _broken(f"{file} is not the manifest of a circle-migrate backup")
    if stored.get("format") != FORMAT:
        raise BrokenBackup(
            f"{file} has format {stored.get('format')}, and this version reads format {FORMAT}",
            state="nothing was changed",
            hint=f"restore it with circle-migrate {stored.get('tool_version')}",
        )
    checksum = stored.pop("checksum", None)
    if checksum != _checksum(stored):
        raise _broken(f"{file} was edited or damaged: its checksum does not match")
    try:
        manifest = Manifest.from_dict(stored)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _broken(f"{file} has no valid value for a key of the manifest: {error}") from error
    for dump in manifest.dumps:
        if Path(dump.file).name != dump.file or "\0" in dump.file:
            raise _broken(f"{file} names a file outside its folder: {dump.file}")
    return manifest


def verify(folder: Path, dump: Dump) -> None:
    """Raise `BrokenBackup` if the file of a dump is missing or has other contents."""
    path = folder / dump.file
    try:
        size = path.stat().st_size
        if size != dump.bytes:
            raise _broken(f"{path} has {size:,} bytes instead of {dump.bytes:,}", dump.database)
        digest = sha256(path)
    except OSError as error:
        raise _broken(f"{path} cannot be read: {error.strerror}", dump.database) from error
    if digest != dump.sha256:
        raise _broken(
            f"{path} was changed or damaged: its SHA-256 does not match the manifest", dump.database
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _broken(message: str, database: str | None = None) -> BrokenBackup:
    return BrokenBackup(
        message, database=database, state="nothing was changed", hint="take another copy of the backup"
    )
