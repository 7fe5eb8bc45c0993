"""Snapshots as files: `.json.gz`, or `.json` for reading, the same bytes for the same snapshot.

A file says which format it has, which version of this package wrote it, and a checksum of all the rest, so
that one that was cut off or edited is never taken for a database's state. It may hold the bodies of
functions, and so secrets: it is readable for its owner alone.
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
"""Raised when a snapshot of the same catalogue has other fields or texts, or the file another shape."""

SUFFIXES = (".json.gz", ".json")

_KIND = "circle-migrate snapshot"
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds: a snapshot, the version of this package that wrote it, and its format.

    `source` is a digest of what the snapshot was made from, None where that is not known.
    """

    snapshot: Snapshot
    source: str | None = None
    format: int = FORMAT
    tool: str = __version__


def read(path: Path) -> Snapshot:
    """The snapshot in a file. Raises `UsageError` for one that is missing, damaged, foreign or newer."""
    return read_stored(path).snapshot


def read_stored(path: Path) -> Stored:
    """All that a file holds. Raises what `read` raises."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=_hint(path)) from error
    return decoded(content, str(path))


def write(path: Path, snapshot: Snapshot, source: str | None = None, *, mode: int = 0o600) -> None:
    """Write a snapshot, compressed where the name ends with .gz; a file that is there is replaced at once.

    Raises `UsageError` for another kind of name or a place that cannot be written to.
    """
    if not path.name.endswith(SUFFIXES):
        raise UsageError(
            f"{path} has no ending of a snapshot file", hint="name it …" + " or …".join(SUFFIXES)
        )
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is not a file", hint="name another one")
    try:
        content = encoded(Stored(snapshot, source), compress=path.name.endswith(".gz"))
        replace_file(target, content, mode=mode)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written", detail=error.strerror, hint="name another place"
        ) from error


def encoded(stored: Stored, *, compress: bool = True) -> bytes:
    """The file's content."""
    body = {"source": stored.source, "snapshot": stored.snapshot.to_dict()}
    head = {"kind": _KIND, "format": stored.format, "tool": stored.tool, "checksum": _checksum(body)}
    text = json.dumps(head | body, ensure_ascii=False, indent=None if compress else 1) + "\n"
    content = text.encode()
    return gzip.compress(content, mtime=0) if compress else content


def decoded(content: bytes, name: str) -> Stored:
    """What a file's content holds; `name` stands for the file in messages. Raises what `read` raises."""
    found = _document(content, name)
    if found.get("kind") != _KIND or not isinstance(found.get("format"), int):
        raise UsageError(f"{name} is not a snapshot of circle-migrate", hint=_hint(name))
    if found["format"] > FORMAT:
        raise UsageError(
            f"{name} was written by circle-migrate {found.get('tool')}, in a format that is too new",
            hint=f"use that version, or: {_hint(name)}",
        )
    body = {key: found.get(key) for key in ("source", "snapshot")}
    if found.get("checksum") != _checksum(body):
        raise UsageError(f"{name} was damaged or edited: its checksum is wrong", hint=_hint(name))
    try:
        snapshot = Snapshot.from_dict(found["snapshot"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{name} is not a whole snapshot", detail=repr(error), hint=_hint(name)) from error
    return Stored(snapshot, found["source"], found["format"], str(found.get("tool")))


def _document(content: bytes, name: str) -> dict[str, Any]:
    try:
        text = gzip.decompress(content) if content.startswith(_GZIP) else content
        found = json.loads(text)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name} is damaged or cut off", detail=str(error), hint=_hint(name)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} is not a snapshot of circle-migrate, or was cut off", detail=str(error), hint=_hint(name)
        ) from error
    return found if isinstance(found, dict) else {}


def _checksum(body: dict[str, Any]) -> str:
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hint(path: Path | str) -> str:
    return f"take it anew: circle-migrate snapshot --database NAME -o {path}"
