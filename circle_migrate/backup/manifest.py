"""The manifest of a backup and its file, and the results of `backup` and `restore`.

The checksum in the manifest detects damage and accidental edits. It is not a signature: a user who can write
to the folder can write another manifest.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_origin

from circle_migrate.core.errors import BrokenBackup, UsageError
from circle_migrate.core.json_file import parse_json, read_bounded
from circle_migrate.core.result import Result, json_fields

MANIFEST = "manifest.json"

_KIND = "circle-migrate backup"
_FORMAT = 1
"""Incremented when a key of the manifest changes its meaning."""

_SINGLE_KINDS = ("table", "column", "sequence", "view", "materialized view")
"""Kinds of which every server version has the same number of objects."""

_JSON_TYPES: dict[Any, type] = {tuple: list, Mapping: dict}
"""The types of values in JSON, where they differ."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The dump of one database; sizes are in bytes, times in ISO 8601 with UTC.

    `dbname` is the database's name on its server, `database_bytes` its size, `dump_version` the version of
    the pg_dump that wrote `file`. `revisions` were current at `snapshot_at`, the time of the exported
    snapshot. `objects` is the number of objects by kind, `catalogue` the digest of their names.
    """

    database: str
    file: str
    bytes: int
    sha256: str
    encrypted: bool
    dbname: str
    database_bytes: int
    server_version: str
    server_version_num: int
    dump_version: str
    revisions: tuple[str, ...]
    snapshot_at: str
    objects: Mapping[str, int]
    catalogue: str

    @property
    def major(self) -> int:
        """The major version of the server."""
        return self.server_version_num // 10000

    @property
    def dump_major(self) -> int:
        """The major version of pg_dump; an older pg_restore cannot read the dump."""
        return int(self.dump_version.partition(".")[0])

    def differs_from(self, objects: Mapping[str, int], catalogue: str, major: int) -> str | None:
        """Describe how the catalog of a restored database differs from this one; None if it does not.

        Only tables, columns, sequences and views are compared between different major versions, which have
        different numbers of other objects.
        """
        if (major, catalogue) == (self.major, self.catalogue):
            return None
        kinds = _SINGLE_KINDS if major != self.major else sorted(objects.keys() | self.objects.keys())
        parts = [
            f"{objects.get(kind, 0)} instead of {self.objects.get(kind, 0)} of kind {kind}"
            for kind in kinds
            if objects.get(kind, 0) != self.objects.get(kind, 0)
        ]
        if not parts and major == self.major:
            return "the same number of objects of each kind, with other names"
        return ", ".join(parts) or None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the dump from its JSON. Raises as `Manifest.from_dict`."""
        values = {attribute.name: stored[attribute.name] for attribute in fields(cls)}
        for attribute in fields(cls):
            kind = get_origin(attribute.type) or attribute.type
            if type(values[attribute.name]) is not _JSON_TYPES.get(kind, kind):
                raise TypeError(attribute.name)
        dump = cls(**{**values, "revisions": tuple(values["revisions"])})
        if not all(isinstance(key, str) for key in dump.revisions) or not dump.dump_major:
            raise TypeError("revisions, dump_version")
        return dump


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a backup.

    `spread_ms` is the maximum time in milliseconds between the snapshots of two databases. `locked` says
    whether the deployer locks were held from before them to the end of the dumps, which is impossible on a
    standby.
    """

    id: str
    tool_version: str
    created_at: str
    spread_ms: float
    locked: bool
    dumps: tuple[Dump, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON, without its checksum."""
        return {
            "format": _FORMAT,
            **json_fields(self, "id tool_version created_at"),
            "apart_ms": self.spread_ms,
            "locked": self.locked,
            "databases": json_fields(self, "dumps")["dumps"],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the manifest from its JSON. Raises `KeyError`, `TypeError` or `ValueError` for any other."""
        return cls(
            id=str(stored["id"]),
            tool_version=str(stored["tool_version"]),
            created_at=str(stored["created_at"]),
            spread_ms=float(stored["apart_ms"]),
            locked=bool(stored["locked"]),
            dumps=tuple(Dump.from_dict(dump) for dump in stored["databases"]),
        )


@dataclass(frozen=True, slots=True)
class BackupResult(Result):
    """A complete backup in `folder`, `verified` if the schemas of its dumps were restored and compared."""

    manifest: Manifest
    folder: str
    notes: tuple[str, ...] = ()
    verified: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the folder, the manifest, whether it is verified, and the notes."""
        return {
            "folder": self.folder,
            "backup": self.manifest.to_dict(),
            **json_fields(self, "verified notes"),
        }


@dataclass(frozen=True, slots=True)
class RestoreResult(Result):
    """A restored backup; `replaced` has the names under which the replaced databases are kept."""

    manifest: Manifest
    databases: tuple[str, ...]
    current: Mapping[str, tuple[str, ...]]
    replaced: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the backup's id, the databases with their current revisions, and the replaced databases."""
        return {
            "restored": json_fields(self.manifest, "id created_at"),
            **json_fields(self, "databases current replaced notes"),
        }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder, readable only by its owner, and flush it to disk."""
    content = {"kind": _KIND, **manifest.to_dict()}
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False) + "\n"
    with os.fdopen(new_file(folder / MANIFEST), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def new_file(path: Path) -> int:
    """Create a file that only its owner can read and write, and return its descriptor."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


def read_manifest(path: Path) -> tuple[Manifest, Path]:
    """Return the manifest at a path, which is the file or its folder, and the folder.

    Raises `UsageError` for a file that cannot be read, `BrokenBackup` for one that was edited or truncated,
    is not a manifest, or has another format.
    """
    file = path / MANIFEST if path.is_dir() else path
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
    if stored.get("format") != _FORMAT:
        raise BrokenBackup(
            f"{file} has format {stored.get('format')}, and this version reads format {_FORMAT}",
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


def verify_dump(folder: Path, dump: Dump) -> None:
    """Raise `BrokenBackup` if the file of a dump is missing or has other contents."""
    path = folder / dump.file
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise _broken(f"{path} is not a regular file", dump.database)
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
    return BrokenBackup(message, database=database, hint="use another copy of the backup")
