"""Read and write snapshot files: `.json.gz` or `.json`, the same bytes for the same snapshot.

A file contains its format, the version of circle-migrate that wrote it, and a checksum, so that a truncated
or edited file is rejected. Function bodies may contain secrets, so only its owner can read a file.

Shipped snapshots have the catalog of each revision, by PostgreSQL major version, so that a comparison in
production needs only the privilege CONNECT. They are in `snapshots/DATABASE` beside the folder of the
revision files. One is valid while the files of its revision and all ancestors are unchanged.
"""

import glob
import gzip
import hashlib
import json
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from circle_migrate import __version__
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.atomic_write import replace_file
from circle_migrate.core.errors import SettingsError, UsageError
from circle_migrate.core.json_file import MAX_BYTES, parse_json, read_bounded
from circle_migrate.diff.side import SNAPSHOT_SUFFIXES
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database

FORMAT = 1
"""The format version, incremented if the fields or texts of a snapshot change, or the file layout."""

_KIND = "circle-migrate snapshot"
_GZIP = b"\x1f\x8b"
_MAJOR = re.compile(r"\.pg(?P<major>\d+)\.json\.gz$")


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """The content of a file; `source` is a digest of its source, `tool` the version that wrote it."""

    snapshot: Snapshot
    source: str | None = None
    format: int = FORMAT
    tool: str = __version__


def read(path: Path) -> SnapshotFile:
    """Return the content of a file. Raises `UsageError` if it is missing, damaged, foreign or too new."""
    try:
        content = read_bounded(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", detail=error.strerror, hint=_hint(path)) from error
    return decode(content, str(path))


def write(path: Path, snapshot: Snapshot, source: str | None = None, *, mode: int = 0o600) -> None:
    """Write a snapshot, compressed if the name ends with .gz. An existing file is replaced atomically.

    Raises `UsageError` if the name has another suffix or the file cannot be written.
    """
    if not path.name.endswith(SNAPSHOT_SUFFIXES):
        hint = f"use a name with the suffix {' or '.join(SNAPSHOT_SUFFIXES)}"
        raise UsageError(f"{path} has no suffix of a snapshot file", hint=hint)
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is not a file", hint="choose another path")
    try:
        content = encode(SnapshotFile(snapshot, source), compress=path.name.endswith(".gz"))
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content, mode=mode)
    except OSError as error:
        hint = "choose another path"
        raise UsageError(f"{path} cannot be written", detail=error.strerror, hint=hint) from error


def encode(stored: SnapshotFile, *, compress: bool = True) -> bytes:
    """Return the content of a snapshot file."""
    body = {"source": stored.source, "snapshot": stored.snapshot.to_dict()}
    head = {"kind": _KIND, "format": stored.format, "tool": stored.tool, "checksum": _checksum(body)}
    text = json.dumps(head | body, ensure_ascii=False, indent=None if compress else 1) + "\n"
    content = text.encode()
    return gzip.compress(content, mtime=0) if compress else content


def decode(content: bytes, name: str) -> SnapshotFile:
    """Parse the content of a snapshot file; `name` names it in messages. Raises what `read` raises."""
    try:
        document = parse_json(_decompressed(content) if content.startswith(_GZIP) else content)
    except (EOFError, zlib.error) as error:
        raise UsageError(f"{name} is damaged or truncated", detail=str(error), hint=_hint(name)) from error
    except ValueError as error:
        message = f"{name} is truncated or not a snapshot of circle-migrate"
        raise UsageError(message, detail=str(error), hint=_hint(name)) from error
    document = document if isinstance(document, dict) else {}
    if document.get("kind") != _KIND or not isinstance(document.get("format"), int):
        raise UsageError(f"{name} is not a snapshot of circle-migrate", hint=_hint(name))
    if document["format"] > FORMAT:
        message = f"{name} has a newer format, written by circle-migrate {document.get('tool')}"
        raise UsageError(message, hint=f"use that version, or run: {_command(name)}")
    body = {key: document.get(key) for key in ("source", "snapshot")}
    if document.get("checksum") != _checksum(body):
        raise UsageError(f"{name} is damaged or was edited: its checksum is wrong", hint=_hint(name))
    try:
        snapshot = Snapshot.from_dict(document["snapshot"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{name} is an incomplete snapshot", detail=repr(error), hint=_hint(name)) from error
    return SnapshotFile(snapshot, document["source"], document["format"], str(document.get("tool")))


def _decompressed(content: bytes) -> bytes:
    """Return the text of a gzip stream. Raises `EOFError` if it is truncated, or larger than may be read."""
    stream = zlib.decompressobj(wbits=31)
    text = stream.decompress(content, MAX_BYTES)
    if not stream.eof:
        raise EOFError("it ends too early, or is too large")
    return text


def _checksum(body: dict[str, Any]) -> str:
    text = json.dumps(body, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _command(path: Path | str) -> str:
    return f"circle-migrate snapshot --database NAME -o {path}"


def _hint(path: Path | str) -> str:
    return f"take the snapshot again: {_command(path)}"


def snapshots_folder(database: Database) -> Path:
    """Return the folder of a database's shipped snapshots."""
    return database.revision_folders[0].parent / "snapshots" / database.name


def file_name(revisions: tuple[str, ...], major: int) -> str:
    """Return the file name for these current revisions; `base` for none."""
    return f"{_stem(revisions)}.pg{major}.json.gz"


def source_of(database: Database, revisions: tuple[str, ...]) -> str:
    """Return a digest of the files that create these revisions, and the settings they depend on.

    The code of modules that a revision file imports is not part of it.
    """
    graph = database.graph
    checksums = sorted(
        (key, graph[key].checksum) for key in graph.squashes.without_alternatives(graph.ancestors(revisions))
    )
    settings = database.settings
    parts = [database.name, settings.effective_path, checksums, *settings.x_arguments, *settings.imports]
    parts += _naming(settings)
    text = json.dumps(parts + ([settings.version_table_schema] if settings.version_table_schema else []))
    return hashlib.sha256(text.encode()).hexdigest()


def _naming(settings: DatabaseSettings) -> list[tuple[str, str]]:
    """Return the naming convention of the models, if constraints of revisions get names by it."""
    if not settings.names_from_models:
        return []
    from sqlalchemy import MetaData

    from circle_migrate.config.object_reference import naming_metadata

    try:
        convention = naming_metadata(settings).naming_convention
    except SettingsError:  # raised by the operations that need a name
        return []
    if convention == MetaData().naming_convention:
        return []
    return sorted((str(key), getattr(value, "__qualname__", str(value))) for key, value in convention.items())


def read_shipped(database: Database, revisions: tuple[str, ...], major: int) -> Snapshot:
    """Return a shipped snapshot. Raises `UsageError` if it is missing, damaged or of other revision files."""
    path = snapshots_folder(database) / file_name(revisions, major)
    stored = read(path)
    if stored.source != source_of(database, revisions):
        raise UsageError(f"{path} was created from other revision files")
    if stored.format != FORMAT or (stored.snapshot.database, stored.snapshot.major) != (database.name, major):
        raise UsageError(
            f"{path} has another format, or is the snapshot of another database or PostgreSQL version"
        )
    return stored.snapshot


def shipped_majors(database: Database, revisions: tuple[str, ...]) -> tuple[int, ...]:
    """Return the major versions with a file for these revisions, valid or not."""
    return majors_in(snapshots_folder(database), _stem(revisions))


def majors_in(folder: Path, stem: str = "*") -> tuple[int, ...]:
    """Return the major versions in the file names of a folder, for all stems or one."""
    pattern = "*" if stem == "*" else glob.escape(stem)
    matches = (_MAJOR.search(path.name) for path in folder.glob(f"{pattern}.pg*.json.gz"))
    return tuple(sorted({int(match["major"]) for match in matches if match}))


def _stem(revisions: tuple[str, ...]) -> str:
    return "+".join(quote(key, safe="") for key in sorted(revisions)) or "base"
