"""Backups of the databases as values: what a manifest says, and what `backup` and `restore` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from circle_migrate.core.result import Result

FORMAT = 1
"""Raised when a manifest's keys change their meaning."""

_SINGLE_KINDS = ("table", "column", "sequence", "view", "materialized view")
"""Kinds of which every server version counts the same objects."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The dump of one database; sizes in bytes, times in ISO 8601 with UTC.

    `dbname` is what the database was called there, `database_bytes` how large it was, and `dump_version`
    the version of the pg_dump that wrote `file`. `revisions` were current at `snapshot_at`, the moment
    whose state the dump holds. `objects` counts what the catalogue had by kind, and `catalogue` is a digest
    of all their names.
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
        """The server's major version."""
        return self.server_version_num // 10000

    @property
    def dump_major(self) -> int:
        """The major version of the pg_dump; an older pg_restore cannot read what it wrote."""
        return int(self.dump_version.partition(".")[0])

    def differs_from(self, objects: Mapping[str, int], catalogue: str, major: int) -> str | None:
        """How the catalogue of a restored database differs from the dumped one's; None where it does not.

        Servers of different major versions do not count the same objects: there only tables, columns,
        sequences and views are compared.
        """
        if major == self.major:
            if catalogue == self.catalogue:
                return None
            kinds = sorted(objects.keys() | self.objects.keys())
        else:
            kinds = list(_SINGLE_KINDS)
        parts = [
            f"{objects.get(kind, 0)} instead of {self.objects.get(kind, 0)} of kind {kind}"
            for kind in kinds
            if objects.get(kind, 0) != self.objects.get(kind, 0)
        ]
        if not parts and major == self.major:
            return "as many objects of each kind, under other names"
        return ", ".join(parts) or None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Dump:
        """A dump from the manifest's JSON. Raises `KeyError` or `TypeError` where it is none."""
        values = {each.name: stored[each.name] for each in fields(cls)}
        for name, kind in _TYPES.items():
            if type(values[name]) is not kind:
                raise TypeError(name)
        return cls(**{**values, "revisions": tuple(values["revisions"])})


_TYPES: dict[str, type] = {
    "database": str,
    "file": str,
    "bytes": int,
    "sha256": str,
    "encrypted": bool,
    "dbname": str,
    "database_bytes": int,
    "server_version": str,
    "server_version_num": int,
    "dump_version": str,
    "revisions": list,
    "snapshot_at": str,
    "objects": dict,
    "catalogue": str,
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup consists of.

    `apart` is the longest time, in milliseconds, that can have passed between the moments of the first and
    of the last database. `locked` says whether the deployer locks were held from before these moments until
    the dumps were complete; they cannot be on a standby.
    """

    id: str
    tool_version: str
    created_at: str
    apart: float
    locked: bool
    dumps: tuple[Dump, ...]

    def to_dict(self) -> dict[str, Any]:
        """The manifest as its file and the JSON output have it, without its checksum."""
        return {
            "format": FORMAT,
            "id": self.id,
            "tool_version": self.tool_version,
            "created_at": self.created_at,
            "apart_ms": self.apart,
            "locked": self.locked,
            "databases": [{**asdict(dump), "revisions": list(dump.revisions)} for dump in self.dumps],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Manifest:
        """A manifest from its JSON. Raises `KeyError`, `TypeError` or `ValueError` where it is none."""
        return cls(
            id=str(stored["id"]),
            tool_version=str(stored["tool_version"]),
            created_at=str(stored["created_at"]),
            apart=float(stored["apart_ms"]),
            locked=bool(stored["locked"]),
            dumps=tuple(Dump.from_dict(each) for each in stored["databases"]),
        )


@dataclass(frozen=True, slots=True)
class BackupResult(Result):
    """A backup that is complete and verified: the folder it is in, and what is to be known about it."""

    manifest: Manifest
    folder: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The folder, the manifest and the notes."""
        return {"folder": self.folder, "backup": self.manifest.to_dict(), "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class RestoreResult(Result):
    """What was restored from which backup.

    `replaced` has the names under which the databases that were replaced are kept.
    """

    manifest: Manifest
    databases: tuple[str, ...]
    current: Mapping[str, tuple[str, ...]]
    replaced: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The backup's id, what was restored, where the databases are now, and what they replaced."""
        return {
            "restored": {"id": self.manifest.id, "created_at": self.manifest.created_at},
            "databases": list(self.databases),
            "current": {name: list(heads) for name, heads in self.current.items()},
            "replaced": dict(self.replaced),
            "notes": list(self.notes),
        }
