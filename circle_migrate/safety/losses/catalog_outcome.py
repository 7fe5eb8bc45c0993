"""Compare two catalogues of one database by the addresses of objects, which no rename changes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from circle_migrate.postgres.catalog.snapshot import Address, Fields, ObjectKey, Ownership, Snapshot
from circle_migrate.safety.losses.report import Effect, Loss, LossNamer

HOLDING = frozenset({"table", "column", "sequence"})
"""Kinds that hold what is lost with them, even where another one of the name is made."""

_ENUM = "enum"
_WITHOUT_ROWS_OF_ITS_OWN = ("view", "materialized view", "foreign table")
_LONGEST = 60
"""Characters of the values of a field that are shown; of longer ones only that they differ."""

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
    addresses: Mapping[ObjectKey, Address]


def catalog_losses(
    namer: LossNamer,
    before: Catalogue,
    steps: Sequence[tuple[str, Collection[Address]]],
    after: Catalogue | None,
) -> Iterator[Loss]:
    """Yield what is gone or altered, by the addresses that were left after each revision.

    A part of an object that is gone is not listed apart from it. Where the plan did not finish there is no
    `after`, and alterations are unknown.
    """
    old = before.snapshot.objects
    now = after.snapshot.objects if after else {}
    gone = dict(_gone(before, steps, after))
    again = {key: now[key] for key in gone if key in now and key.kind not in HOLDING}
    lost = gone.keys() - again.keys()
    parts = _parts(before.snapshot, lost)
    for key in sorted(lost - parts):
        detail = "one of the same name is made anew" if key in now else ""
        yield replace(namer.loss(key, Effect.DROPPED, gone[key], detail), derived=_is_derived(old[key]))
    if after is None:
        return
    renames = _renames(before, after)
    for key, fields in sorted((dict(_still_there(before, after)) | again).items()):
        if key.kind == _ENUM:
            for label in _removed_labels(old[key], fields):
                value = ObjectKey("enum value", f"{key.identity}.{label}")
                yield namer.loss(value, Effect.DROPPED, gone.get(key, ""))
        elif key not in parts and (detail := _alterations(old[key], fields, renames)):
            yield namer.loss(key, Effect.CHANGED, detail=detail)


def compare_by_name(namer: LossNamer, before: Snapshot, after: Snapshot) -> Iterator[Loss]:
    """Yield what two snapshots alone show: an object is gone where its name is."""
    addresses: dict[ObjectKey, Address] = {
        key: (0, number, 0) for number, key in enumerate(sorted(before.objects))
    }
    left = {key: address for key, address in addresses.items() if key in after.objects}
    steps = [("", frozenset(left.values()))]
    return catalog_losses(namer, Catalogue(before, addresses), steps, Catalogue(after, left))


def _is_derived(fields: Fields) -> bool:
    """Return whether it is a column whose values are computed, or stored elsewhere."""
    owner = ObjectKey.parse(fields.get("of") or "")
    return fields.get("generated") is not None or owner.kind in _WITHOUT_ROWS_OF_ITS_OWN


def _gone(
    before: Catalogue, steps: Sequence[tuple[str, Collection[Address]]], after: Catalogue | None
) -> Iterator[tuple[ObjectKey, str]]:
    """Each object that is gone, and the revision after which it was; by name, where it has no address."""
    for key in before.snapshot.objects:
        address = before.addresses.get(key)
        if address is not None:
            revision = next((name for name, left in steps if address not in left), None)
            if revision is not None:
                yield key, revision
        elif after is not None and key not in after.snapshot.objects:
            yield key, ""


def _still_there(before: Catalogue, after: Catalogue) -> Iterator[tuple[ObjectKey, Fields]]:
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


def _last(key: ObjectKey) -> str:
    *_, last = _IDENTIFIER.finditer(key.identity)
    return last[0]


def _alterations(old: Fields, new: Fields, renames: Mapping[str, str]) -> str:
    """Describe the fields that differ by more than a renamed object."""
    texts = []
    for name in sorted((old.keys() | new.keys()) - _NOT_TOLD):
        one, other = old.get(name), new.get(name)
        if one == other or (one and other and renames and _same_but_for_names(one, other, renames)):
            continue
        one, other, field = one or "none", other or "none", name.replace("_", " ")
        short = len(one + other) <= _LONGEST and "\n" not in one + other
        texts.append(f"{field}: {one} -> {other}" if short else f"another {field}")
    return ", ".join(texts)


def _same_but_for_names(old: str, new: str, renames: Mapping[str, str]) -> bool:
    """Whether two definitions differ in nothing but what was renamed.

    A view keeps the name of a column whose source has another one by adding AS.
    """
    words = re.compile(r'"(?:[^"]|"")*"|\w+')
    texts = (words.sub(lambda word: renames.get(word[0], word[0]), text) for text in (old, new))
    one, other = (_ALIAS.sub("", text) for text in texts)
    return one == other


def _removed_labels(old: Fields, new: Fields) -> list[str]:
    left = (new.get("labels") or "").split("\n")
    return [label for label in (old.get("labels") or "").split("\n") if label and label not in left]


def _parts(snapshot: Snapshot, gone: Collection[ObjectKey]) -> set[ObjectKey]:
    """Return the objects that are gone, or altered, as parts of others that are gone."""
    ownership = Ownership(snapshot)
    owned = {part for key in gone for part in ownership.of(key)}
    return owned | {
        key for key, fields in snapshot.objects.items() if any(above in gone for above in _above(key, fields))
    }


def _above(key: ObjectKey, fields: Fields) -> Iterator[ObjectKey]:
    owner = ObjectKey.parse(fields.get("of") or "")
    if key.kind == "index" and fields.get("constraint"):
        yield ObjectKey("constraint", f"{owner.identity}.{fields['constraint']}")
    if key.kind == "sequence" and fields.get("owned_by"):
        yield ObjectKey("column", fields["owned_by"] or "")
    for parent in (fields.get("partition_of") or "").split("\n"):
        yield ObjectKey("table", parent)
