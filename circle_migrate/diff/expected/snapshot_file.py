"""Read and write snapshot files: `.json.gz` or `.json`, the same bytes for the same snapshot.

A file contains its format, the version of circle-migrate that wrote it, and a checksum, so that a truncated
or edited file is rejected. Function bodies may contain secrets, so only its owner can read a file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circle_migrate import __version__
from circle_migrate.core.atomic_write import replace_file
from circle_migrate.core.errors import UsageError
from circle_migrate.postgres.catalog.snapshot import Snapshot

FORMAT = 1
"""The format version, incremented if the fields or texts of a snapshot change, or the file layout."""

SUFFIXES = (".json.gz", ".json")

_KIND = "circle-migrate snapshot"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """The content of a file; `tool` is the version of circle-migrate that wrote it.

    `source` is a digest of the snapshot's source, None if it is unknown.
    """

    snapshot: Snapshot
    source: str | None = None
    format: int = FORMAT
    tool: str = __version__


def read(path: Path) -> SnapshotFile:
    """Return the content of a file. Raises `UsageError` if it is missing, damaged, foreign or too new."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=_hint(path)) from error
    return decode(content, str(path))


def write(path: Path, snapshot: Snapshot, source: str | None = None, *, mode: int = 0o600) -> None:
    """Write a snapshot, compressed if the name ends with .gz. An existing file is replaced atomically.

    Raises `UsageError` if the name has another suffix or the file cannot be written.
    """
    if not path.name.endswith(SUFFIXES):
        raise UsageError(
            f"{path} has no suffix of a snapshot file",
            hint=f"Use a name with the suffix {' or '.join(SUFFIXES)}.",
        )
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is not a file", hint="Choose another path.")
    try:
        content = encode(SnapshotFile(snapshot, source), compress=path.name.endswith(".gz"))
        replace_file(target, content, mode=mode)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written", detail=error.strerror, hint="Choose another path."
        ) from error


def encode(stored: SnapshotFile, *, compress: bool = True) -> bytes:
    """Return the content of a snapshot file."""
    body = {"source": stored.source, "snapshot": stored.snapshot.to_dict()}
    head = {"kind": _KIND, "format": stored.format, "tool": stored.tool, "checksum": _checksum(body)}
    text = json.dumps(head | body, ensure_ascii=False, indent=None if compress else 1) + "\n"
    content = text.encode()
    return gzip.compress(content, mtime=0) if compress else content


def decode(content: bytes, name: str) -> SnapshotFile:
    """Parse the content of a snapshot file; `name` names it in messages. Raises what `read` raises."""
    document = _document(content, name)
    if document.get("kind") != _KIND or not isinstance(document.get("format"), int):
        raise UsageError(f"{name} is not a snapshot of circle-migrate", hint=_hint(name))
    if document["format"] > FORMAT:
        raise UsageError(
            f"{name} has a newer format, written by circle-migrate {document.get('tool')}",
            hint=f"Use that version, or run: {_command(name)}",
        )
    body = {key: document.get(key) for key in ("source", "snapshot")}
    if document.get("checksum") != _checksum(body):
        raise UsageError(f"{name} is damaged or was edited: its checksum is wrong", hint=_hint(name))
    try:
        snapshot = Snapshot.from_dict(document["snapshot"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{name} is an incomplete snapshot", detail=repr(error), hint=_hint(name)) from error
    return SnapshotFile(snapshot, document["source"], document["format"], str(document.get("tool")))


def _document(content: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(gzip.decompress(content) if content.startswith(_GZIP) else content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name} is damaged or truncated", detail=str(error), hint=_hint(name)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} is truncated or not a snapshot of circle-migrate", detail=str(error), hint=_hint(name)
        ) from error
    return document if isinstance(document, dict) else {}


def _checksum(body: dict[str, Any]) -> str:
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _command(path: Path | str) -> str:
    return f"circle-migrate snapshot --database NAME -o {path}"


def _hint(path: Path | str) -> str:
    return f"Take the snapshot again: {_command(path)}"
