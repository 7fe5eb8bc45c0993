"""Two catalogues of one database compared by the identities of their objects, which no rename changes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from circle_migrate.core.catalog import Fields, Key, Snapshot
from circle_migrate.core.differing.grouping import Ownership

Address = tuple[int, int, int]
"""What PostgreSQL knows an object by: the oid of its catalogue, its own, and the number of a column."""

HOLDING = frozenset({"table", "column", "sequence"})
"""Kinds that hold what is lost with them, even where another one of the name is made."""

_ENUM = "enum"
_NOT_TOLD = frozenset(
    {"of", "position", "comment", "inherited", "local", "generated_name", "statistics", "storage", "options"}
    | {"attribute_comments", "sequence_comment", "acl_of", "tablespace", "index_tablespace", "owned_by"}
)
"""Fields that say where an object stands, or nothing about what it does."""

_IDENTIFIER = re.compile(r'"(?:[^"]|"")*"|[^.]+')
_ALIAS = re.compile(r' AS (?:\w+|"(?:[^"]|"")*")')


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A snapshot, and the address of each of its objects that has one."""

    snapshot: Snapshot
    addresses: Mapping[Key, Address]


@dataclass(frozen=True, slots=True)
class Vanished:
    """An object that is there no more, by the name it began with, and the revision that took it."""

    key: Key
    revision: str
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Altered:
    """An object that is still there, or again, and is not what it was: the fields that differ."""

    key: Key
    fields: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True, slots=True)
class Label:
    """A value that an enumeration has no more."""

    enum: Key
    label: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a catalogue came out of a plan."""

    vanished: tuple[Vanished, ...] = ()
    altered: tuple[Altered, ...] = ()
    labels: tuple[Label, ...] = field(default=())


def outcome(
    before: Catalogue, steps: Sequence[tuple[str, Collection[Address]]], after: Catalogue | None
) -> Outcome:
    """What is gone and what is not as it was, by the addresses that were left after each revision.

    What belongs to something that is gone is part of it. Where the plan did not get to its end there is no
    `after`, and nothing is known of changes.
    """
    gone = dict(_gone(before, steps, after))
    now = after.snapshot.objects if after else {}
    again = {key: now[key] for key in gone if key in now and key.kind not in HOLDING}
    lost = gone.keys() - again.keys()
    parts = _Parts(before.snapshot, lost)
    compared = dict(_still_there(before, after)) | again if after else {}
    renames = _renames(before, after) if after else {}
    old = before.snapshot.objects
    return Outcome(
        tuple(Vanished(key, gone[key], key in now) for key in sorted(lost) if not parts.covers(key)),
        tuple(
            Altered(key, fields)
            for key in sorted(compared)
            if key.kind != _ENUM and not parts.covers(key)
            if (fields := _differing(old[key], compared[key], renames))
        ),
        tuple(
            Label(key, label, gone.get(key, ""))
            for key in sorted(compared)
            if key.kind == _ENUM
            for label in _labels_lost(old[key], compared[key])
        ),
    )


def _gone(
    before: Catalogue, steps: Sequence[tuple[str, Collection[Address]]], after: Catalogue | None
) -> Iterator[tuple[Key, str]]:
    """Each object that is gone, and the revision after which it was; by name, where it has no address."""
    for key in before.snapshot.objects:
        address = before.addresses.get(key)
        if address is not None:
            revision = next((name for name, left in steps if address not in left), None)
            if revision is not None:
                yield key, revision
        elif after is not None and key not in after.snapshot.objects:
            yield key, ""


def _still_there(before: Catalogue, after: Catalogue) -> Iterator[tuple[Key, Fields]]:
    """What an object of the first catalogue is in the second, by whatever name."""
    names = {address: key for key, address in after.addresses.items()}
    for key in before.snapshot.objects:
        address = before.addresses.get(key)
        now = key if address is None else names.get(address)
        fields = after.snapshot.objects.get(now) if now is not None else None
        if fields is not None:
            yield key, fields


def _renames(before: Catalogue, after: Catalogue) -> dict[str, str]:
    """The old identifier for each new one, of objects that have another name."""
    names = {address: key for key, address in after.addresses.items()}
    pairs = ((key, names.get(address)) for key, address in before.addresses.items())
    changed = ((old, new) for old, new in pairs if new is not None and new != old)
    return {_last(new): _last(old) for old, new in changed if _last(new) != _last(old)}


def _last(key: Key) -> str:
    *_, last = _IDENTIFIER.finditer(key.identity)
    return last[0]


def _differing(
    one: Fields, other: Fields, renames: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    names = sorted((one.keys() | other.keys()) - _NOT_TOLD)
    sides = {name: (one.get(name), other.get(name)) for name in names}
    return {
        name: (old, new)
        for name, (old, new) in sides.items()
        if old != new and not (old and new and renames and _same_but_for_names(old, new, renames))
    }


def _same_but_for_names(old: str, new: str, renames: Mapping[str, str]) -> bool:
    """Whether two definitions differ in nothing but what was renamed.

    A view keeps the name of a column whose source has another one by adding AS.
    """
    words = re.compile(r'"(?:[^"]|"")*"|\w+')
    texts = (words.sub(lambda word: renames.get(word[0], word[0]), text) for text in (old, new))
    one, other = (_ALIAS.sub("", text) for text in texts)
    return one == other


def _labels_lost(one: Fields, other: Fields) -> list[str]:
    left = (other.get("labels") or "").split("\n")
    return [label for label in (one.get("labels") or "").split("\n") if label and label not in left]


class _Parts:
    """Which objects are gone as a part of another one that is."""

    def __init__(self, snapshot: Snapshot, gone: Collection[Key]) -> None:
        self._objects = snapshot.objects
        self._gone = gone
        ownership = Ownership(snapshot)
        self._owned = {part for key in gone for part in ownership.of(key)}

    def covers(self, key: Key) -> bool:
        """Whether what it belongs to is listed for it."""
        return key in self._owned or any(above in self._gone for above in self._above(key))

    def _above(self, key: Key) -> Iterator[Key]:
        fields = self._objects[key]
        owner = Key.parse(fields.get("of") or "")
        if key.kind == "index" and fields.get("constraint"):
            yield Key("constraint", f"{owner.identity}.{fields['constraint']}")
        if key.kind == "sequence" and fields.get("owned_by"):
            yield Key("column", fields["owned_by"] or "")
        for parent in (fields.get("partition_of") or "").split("\n"):
            yield Key("table", parent)
