"""Snapshots: a catalogue as a value, and the one comparison of two of them.

A snapshot knows nothing of kinds. Whatever the introspection says about an object is text in named fields;
what is compared, grouped, written and read is the same for a table, a policy or a kind added tomorrow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

Fields = Mapping[str, str | None]
"""What is known of one object. `of` names the object it belongs to, as `kind identity`."""

Address = tuple[int, int, int]
"""The id of an object in PostgreSQL: the oid of its catalogue, its own, and the number of a column."""


class ObjectKey(NamedTuple):
    """An object: its kind, and what tells it from others of its kind, as PostgreSQL prints it."""

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"{self.kind} {self.identity}"

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """The key that a field `of` holds. The owners whose kind is of two words are known by name."""
        kind, _, identity = text.partition(" ")
        for known in _KINDS_OF_TWO_WORDS:
            if text.startswith(f"{known} "):
                kind, identity = known, text[len(known) + 1 :]
        return cls(kind, identity)


_KINDS_OF_TWO_WORDS = ("materialized view", "foreign table", "foreign server", "operator family")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalogue of one database.

    `origin` says where it comes from in words people type: `live`, `models`, `revisions@REV`, a file's name.
    `revisions` are the current revisions it belongs to, None where it belongs to none (models).
    `unmodelled` counts objects of kinds that are not described, by kind.
    """

    database: str
    origin: str
    server_version_num: int
    # asyncio prints its main task, with the result, whenever it sets a signal handler: megabytes of it.
    objects: Mapping[ObjectKey, Fields] = field(repr=False)
    revisions: tuple[str, ...] | None = None
    unmodelled: Mapping[str, int] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """The server's major version: texts are printed the same way within one."""
        return self.server_version_num // 10000

    @property
    def digest(self) -> str:
        """The same for the same catalogue, wherever it was taken; SHA-256 in hexadecimal."""
        return hashlib.sha256(json.dumps(self._sorted(), separators=(",", ":")).encode()).hexdigest()

    def of(self, kind: str) -> Iterator[tuple[ObjectKey, Fields]]:
        """The objects of one kind, by identity."""
        return ((key, fields) for key, fields in sorted(self.objects.items()) if key.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """The snapshot as JSON has it: sorted, so that the same catalogue is the same text."""
        return {
            "database": self.database,
            "origin": self.origin,
            "server_version_num": self.server_version_num,
            "revisions": None if self.revisions is None else list(self.revisions),
            "objects": self._sorted(),
            "unmodelled": dict(sorted(self.unmodelled.items())),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Snapshot:
        """A snapshot from its JSON. Raises `KeyError`, `TypeError` or `AttributeError` where it is none."""
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
    """What a change is, seen from the first snapshot: the second has it besides, lacks it, or has another."""

    ADDED = "extra"
    REMOVED = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One object that differs between two snapshots.

    `fields` has each field that differs with its two sides; of an extra or missing object all fields, with
    None on the side that lacks it. `of` is what the object belongs to, as its field of that name has it.
    """

    op: Op
    key: ObjectKey
    fields: Mapping[str, tuple[str | None, str | None]]
    of: str | None = None

    @property
    def owner(self) -> ObjectKey | None:
        """The object it belongs to: the table of a column; None for what stands alone."""
        before, after = self.fields.get("of", (None, None))
        text = after or before or self.of
        return ObjectKey.parse(text) if text else None


def changes_between(before: Snapshot, after: Snapshot) -> tuple[Change, ...]:
    """Every object that differs, by kind and identity. Knows no kind."""
    changes = []
    extra = after.objects.keys() - before.objects.keys()
    differing = (key for key, fields in before.objects.items() if fields != after.objects.get(key))
    for key in sorted((*differing, *extra)):  # sorting all of them would take longer than comparing
        one, other = before.objects.get(key), after.objects.get(key)
        op = Op.ADDED if one is None else Op.REMOVED if other is None else Op.CHANGED
        one, other = one or {}, other or {}
        names = sorted(one.keys() | other.keys())
        fields = {name: (one.get(name), other.get(name)) for name in names}
        if op is Op.CHANGED:
            fields = {name: sides for name, sides in fields.items() if sides[0] != sides[1]}
            if not fields:
                continue  # one has null where the other leaves the field out
        changes.append(Change(op, key, fields, of=other.get("of") or one.get("of")))
    return tuple(changes)


class Ownership:
    """Which object belongs to which in some snapshots; the last one decides where they disagree."""

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
        """The kinds of objects that others belong to."""
        return frozenset(key.kind for key in self._owned)

    def root(self, key: ObjectKey) -> ObjectKey:
        """Return the topmost owner of an object; the object itself if it belongs to none."""
        seen = {key}
        while (owner := self._owners.get(key)) is not None and owner not in seen:
            key = owner
            seen.add(key)
        return key

    def partitions(self, table: ObjectKey) -> Iterator[ObjectKey]:
        """Yield the partitions of a table and theirs."""
        for partition in self._partitions.get(table.identity, ()):
            yield partition
            yield from self.partitions(partition)

    def of(self, key: ObjectKey) -> Iterator[ObjectKey]:
        """Yield what belongs to an object, directly and indirectly; by kind and identity at each depth."""
        seen, level = {key}, [key]
        while level:
            level = [owned for owner in level for owned in self._owned.get(owner, ()) if owned not in seen]
            seen.update(level)
            yield from level
