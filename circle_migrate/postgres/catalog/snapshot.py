"""Snapshots of catalogs and their comparison; an object of any kind is a set of named text fields."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

from circle_migrate.core.result import json_fields

Fields = Mapping[str, str | None]
"""The fields of an object. `of` names its owner, as `kind identity`."""

UNREADABLE = "<hidden>"
"""The text of a field that the role may not read, which counts as no difference."""

ObjectAddress = tuple[int, int, int]
"""The id of an object in PostgreSQL: the oids of its catalog and of the object, and a column number."""


class ObjectKey(NamedTuple):
    """The kind of an object, and its identity within that kind, as PostgreSQL prints it."""

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"{self.kind} {self.identity}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the value of a field `of`."""
        kind, _, identity = text.partition(" ")
        for known in _KINDS_OF_TWO_WORDS:
            if text.startswith(f"{known} "):
                kind, identity = known, text[len(known) + 1 :]
        return cls(kind, identity)


_KINDS_OF_TWO_WORDS = ("materialized view", "foreign table", "foreign server", "operator family")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalog of one database.

    `origin` is its source as users type it: `live`, `models`, `revisions@REV`, a file name. `revisions` are
    the current revisions, None for models. `unmodelled` counts objects of unsupported kinds, by kind.
    """

    database: str
    origin: str
    server_version_num: int
    # repr=False: asyncio prints the result of its main task when it sets a signal handler.
    objects: Mapping[ObjectKey, Fields] = field(repr=False)
    revisions: tuple[str, ...] | None = None
    unmodelled: Mapping[str, int] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """The major version of the server, on which the printed form of definitions depends."""
        return self.server_version_num // 10000

    @property
    def digest(self) -> str:
        """SHA-256 of the objects in hexadecimal."""
        return hashlib.sha256(json.dumps(self._sorted(), separators=(",", ":")).encode()).hexdigest()

    def value(self, key: ObjectKey, name: str) -> str | None:
        """Return a field of an object; None also if the object does not exist."""
        return self.objects.get(key, {}).get(name)

    def of_kind(self, kind: str) -> Iterator[tuple[ObjectKey, Fields]]:
        """Return the objects of one kind, sorted by identity."""
        return ((key, fields) for key, fields in sorted(self.objects.items()) if key.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot for JSON, sorted, so that equal catalogs give equal texts."""
        return {
            **json_fields(self, "database origin server_version_num revisions"),
            "objects": self._sorted(),
            "unmodelled": dict(sorted(self.unmodelled.items())),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Parse a snapshot from JSON. Raises `KeyError`, `TypeError` or `AttributeError` for invalid data."""
        objects = {
            ObjectKey(kind, identity): fields
            for kind, identities in stored["objects"].items()
            for identity, fields in identities.items()
        }
        revisions = stored["revisions"]
        return cls(
            database=stored["database"],
            origin=stored["origin"],
            server_version_num=stored["server_version_num"],
            objects=objects,
            revisions=None if revisions is None else tuple(revisions),
            unmodelled=stored["unmodelled"],
        )

    def _sorted(self) -> dict[str, dict[str, dict[str, str | None]]]:
        kinds: dict[str, dict[str, dict[str, str | None]]] = {}
        for key in sorted(self.objects):
            kinds.setdefault(key.kind, {})[key.identity] = dict(sorted(self.objects[key].items()))
        return kinds


class Op(StrEnum):
    """Kind of a change from the first snapshot to the second."""

    ADDED = "extra"
    REMOVED = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """An object that differs between two snapshots.

    `fields` has the pairs of differing values; for an added or removed object it has all fields, with None on
    the other side. `of` is the value of the field `of`.
    """

    op: Op
    key: ObjectKey
    fields: Mapping[str, tuple[str | None, str | None]]
    of: str | None = None

    @property
    def owner(self) -> ObjectKey | None:
        """The object that it belongs to (the table of a column), or None."""
        before, after = self.fields.get("of", (None, None))
        text = after or before or self.of
        return ObjectKey.parse(text) if text else None

    def old(self, field: str) -> str:
        """Return a field's value before the change; empty without one, or where the field is the same."""
        return self.fields.get(field, ("", ""))[0] or ""

    def new(self, field: str) -> str:
        """Return a field's value after the change; empty without one, or where the field is the same."""
        return self.fields.get(field, ("", ""))[1] or ""

    def has(self, *fields: str) -> bool:
        """Return whether any of these fields has a value that differs, on either side."""
        return any(side is not None for field in fields for side in self.fields.get(field, ()))


def changes_between(before: Snapshot, after: Snapshot) -> tuple[Change, ...]:
    """Return every object that differs, sorted by kind and identity."""
    changes = []
    added = after.objects.keys() - before.objects.keys()
    differing = (key for key, fields in before.objects.items() if fields != after.objects.get(key))
    for key in sorted((*differing, *added)):
        old, new = before.objects.get(key, {}), after.objects.get(key, {})
        op = Op.ADDED if key in added else Op.CHANGED if key in after.objects else Op.REMOVED
        fields = {name: (old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())}
        if op is Op.CHANGED:
            differing_fields = ((name, sides) for name, sides in fields.items() if sides[0] != sides[1])
            fields = {name: sides for name, sides in differing_fields if UNREADABLE not in sides}
            if not fields:
                continue  # a null value equals a missing field
        changes.append(Change(op, key, fields, of=new.get("of") or old.get("of")))
    return tuple(changes)


class Ownership:
    """Ownership of objects in some snapshots; a later snapshot takes precedence."""

    def __init__(self, *snapshots: Snapshot) -> None:
        objects = {key: fields for snapshot in snapshots for key, fields in snapshot.objects.items()}
        named = {str(key): key for key in objects}
        owners = ((key, named.get(fields.get("of") or "")) for key, fields in objects.items())
        self._owners = {key: owner for key, owner in owners if owner is not None and owner != key}
        self._owned: dict[ObjectKey, list[ObjectKey]] = {}
        for key, owner in sorted(self._owners.items()):
            self._owned.setdefault(owner, []).append(key)

        self._partitions: dict[str, list[ObjectKey]] = {}
        for key, fields in objects.items():
            if fields.get("partition_of"):
                self._partitions.setdefault(fields["partition_of"] or "", []).append(key)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of owners."""
        return frozenset(key.kind for key in self._owned)

    def root(self, key: ObjectKey) -> ObjectKey:
        """Return the topmost owner of an object; the object itself if it has none."""
        seen = {key}
        while (owner := self._owners.get(key)) is not None and owner not in seen:
            key = owner
            seen.add(key)
        return key

    def partitions(self, table: ObjectKey) -> Iterator[ObjectKey]:
        """Yield the partitions of a table, recursively."""
        for partition in self._partitions.get(table.identity, ()):
            yield partition
            yield from self.partitions(partition)

    def owned_objects(self, key: ObjectKey) -> Iterator[ObjectKey]:
        """Yield the objects that belong to an object, recursively, sorted at every depth."""
        seen, level = {key}, [key]
        while level:
            level = [owned for owner in level for owned in self._owned.get(owner, ()) if owned not in seen]
            seen.update(level)
            yield from level


_ESCAPED = re.compile(r"\\(.)")


def labels(field: str | None) -> list[str]:
    """Return the unescaped labels of a snapshot's field."""
    return [label(line) for line in field.split("\n")] if field is not None else []


def label(line: str) -> str:
    r"""Return the unescaped label of a line: `\n` is a line break, two backslashes are one."""
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], line)
