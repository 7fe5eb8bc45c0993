"""Changes that belong together: renamed objects, and changes that another change implies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import base_name, split_lines

_TELL_NOTHING = frozenset({"of", "position", "constraint", "generated_name", "owned_by"})
"""Fields that differ with the name or the place of an object."""

_NEVER_RENAMED = frozenset({"schema", "extension", "setting", "default privileges"})


def without_generated_names(changes: Sequence[Change]) -> list[Change]:
    """The changes without pairs that differ in nothing but names which PostgreSQL made up.

    The number behind such a name depends on what else had it when the object was created.
    """
    generated = [
        change
        for change in changes
        if change.op is not Op.CHANGED and "yes" in change.fields.get("generated_name", ())
    ]
    same = {key for pair in _pairs(generated) for key in pair}
    indexes = {
        change.key
        for change in changes
        if change.owner is not None
        for name in change.fields.get("constraint", ())
        if ObjectKey("constraint", f"{change.owner.identity}.{name}") in same
    }
    return [change for change in changes if change.key not in same | indexes]


def _pairs(changes: Iterable[Change]) -> list[tuple[ObjectKey, ObjectKey]]:
    """Each missing object with an extra one of the same owner and the same fields."""
    missing: dict[object, list[ObjectKey]] = {}
    pairs = []
    changes = tuple(changes)
    for change in changes:
        if change.op is Op.REMOVED:
            missing.setdefault(_shape(change), []).append(change.key)
    for change in changes:
        others = missing.get(_shape(change)) if change.op is Op.ADDED else None
        if others:
            pairs.append((others.pop(0), change.key))
    return pairs


def _shape(change: Change) -> tuple[object, ...]:
    """What an extra or missing object is, its name left out."""
    fields = {name: sides[0] if sides[1] is None else sides[1] for name, sides in change.fields.items()}
    return (change.key.kind, change.owner, _nameless(fields.items(), base_name(change.key.identity)))


def _nameless(fields: Iterable[tuple[str, str | None]], *names: str) -> frozenset[tuple[str, str]]:
    pattern = re.compile("|".join(rf'(?<![\w"]){re.escape(name)}(?![\w"])' for name in names))
    return frozenset(
        (field, pattern.sub("?", text)) for field, text in fields if text and field not in _TELL_NOTHING
    )


def renames(changes: Sequence[Change], before: Snapshot, after: Snapshot) -> dict[ObjectKey, ObjectKey]:
    """Each missing object and the extra one that is the same but for its name, both ways round.

    Only where there is exactly one of each: a hint for people, to be right or to be silent.
    """
    shapes: dict[object, dict[Op, list[ObjectKey]]] = {}
    kinds = {op: {change.key.kind for change in changes if change.op is op} for op in (Op.REMOVED, Op.ADDED)}
    wanted = (kinds[Op.REMOVED] & kinds[Op.ADDED]) - _NEVER_RENAMED
    parts = {Op.REMOVED: _parts(before), Op.ADDED: _parts(after)} if "table" in wanted else {}
    for change in changes:
        if change.op is Op.CHANGED or change.key.kind not in wanted:
            continue
        shape = _shape(change)
        if change.key.kind == "table":
            snapshot = before if change.op is Op.REMOVED else after
            shape = (*shape, _content(change.key, snapshot, parts[change.op]))
        shapes.setdefault(shape, {Op.REMOVED: [], Op.ADDED: []})[change.op].append(change.key)
    found: dict[ObjectKey, ObjectKey] = {}
    for sides in shapes.values():
        if len(sides[Op.REMOVED]) == len(sides[Op.ADDED]) == 1:
            [one], [other] = sides.values()
            found |= {one: other, other: one}
    return found


def _parts(snapshot: Snapshot) -> dict[str, list[ObjectKey]]:
    parts: dict[str, list[ObjectKey]] = {}
    for key, fields in snapshot.objects.items():
        if fields.get("of"):
            parts.setdefault(fields["of"] or "", []).append(key)
    return parts


def _content(table: ObjectKey, snapshot: Snapshot, parts: dict[str, list[ObjectKey]]) -> frozenset[object]:
    """What belongs to a table, without the table's name; names of columns count, others do not."""
    return frozenset(
        (
            object_key.kind,
            base_name(object_key.identity) if object_key.kind == "column" else None,
            _nameless(
                snapshot.objects[object_key].items(),
                base_name(table.identity),
                base_name(object_key.identity),
            ),
        )
        for object_key in parts.get(str(table), ())
    )


_OF_ITS_PLACE = frozenset(
    {"of", "position", "inherited", "local", "owner", "acl", "comment", "constraint", "generated_name"}
)
"""Fields in which a part that a partition inherits may differ from that of its parent."""


def drop_implied(changes: Sequence[Change], before: Snapshot, after: Snapshot) -> list[Change]:
    """The changes without those that another one brings along."""
    by_key = {change.key: change for change in changes}
    by_owner: dict[ObjectKey | None, list[Change]] = {}
    for change in changes:
        by_owner.setdefault(change.owner, []).append(change)
    return [
        change
        for change in changes
        if not (
            _goes_with_its_owner(change, by_key)
            or _belongs_to_constraint(change, by_key, before, after)
            or _belongs_to_column(change, by_key)
            or _goes_with_its_parent(change, by_key)
            or _is_inherited(change, by_owner, before, after)
        )
    ]


def _goes_with_its_owner(change: Change, by_key: Mapping[ObjectKey, Change]) -> bool:
    """Whether the table, view or domain it belongs to is missing, or there besides, itself."""
    owner = by_key.get(change.owner) if change.owner is not None else None
    return change.op is not Op.CHANGED and owner is not None and owner.op is change.op


def _goes_with_its_parent(change: Change, by_key: Mapping[ObjectKey, Change]) -> bool:
    """Whether the partitioned table it is a partition of is missing, or there besides, too."""
    if change.op is Op.CHANGED:
        return False
    owners = (by_key.get(ObjectKey("table", name)) for name in change.fields.get("partition_of", ()) if name)
    return any(owner is not None and owner.op is change.op for owner in owners)


def _belongs_to_constraint(change: Change, by_key: Mapping[ObjectKey, Change], *snapshots: Snapshot) -> bool:
    """Whether it is the index of a constraint that is reported."""
    owner = change.owner
    if change.key.kind != "index" or owner is None:
        return False
    names = {_field(change.key, "constraint", snapshot) for snapshot in snapshots} - {None}
    constraints = (by_key.get(ObjectKey("constraint", f"{owner.identity}.{name}")) for name in names)
    return any(
        constraint is not None and constraint.op is change.op is not Op.CHANGED for constraint in constraints
    )


def _belongs_to_column(change: Change, by_key: Mapping[ObjectKey, Change]) -> bool:
    """Whether it is the sequence of a column that is missing, or there besides, too."""
    if change.key.kind != "sequence" or change.op is Op.CHANGED:
        return False
    columns = (
        by_key.get(ObjectKey("column", column)) for column in change.fields.get("owned_by", ()) if column
    )
    return any(column is not None and column.op is change.op for column in columns)


def _is_inherited(
    change: Change, by_owner: Mapping[ObjectKey | None, Sequence[Change]], *snapshots: Snapshot
) -> bool:
    """Whether the parent of its table has the same change, which its partitions and heirs get with it."""
    owner = change.owner
    if owner is None or not any(_field(change.key, "inherited", snapshot) for snapshot in snapshots):
        return False
    twins = (
        twin
        for parent in parents(owner, *snapshots)
        for kind in ("table", "foreign table")
        for twin in by_owner.get(ObjectKey(kind, parent), ())
    )
    return any(_same_for_heir(twin, change) for twin in twins)


def _same_for_heir(twin: Change, change: Change) -> bool:
    if (twin.op, twin.key.kind) != (change.op, change.key.kind):
        return False
    if change.key.kind == "index":  # its definition has names of its own
        return _told(twin).keys() == _told(change).keys()
    if change.key.kind == "trigger":  # and this one the name of its table
        return _told(twin).keys() == _told(change).keys() and (
            base_name(twin.key.identity) == base_name(change.key.identity)
        )
    return _told(twin) == _told(change)


def _told(change: Change) -> dict[str, tuple[str | None, str | None]]:
    return {
        name: sides
        for name, sides in change.fields.items()
        if name not in _OF_ITS_PLACE and sides != (None, None)
    }


def _field(key: ObjectKey, name: str, snapshot: Snapshot) -> str | None:
    return snapshot.objects.get(key, {}).get(name)


def parents(table: ObjectKey, *snapshots: Snapshot) -> Iterator[str]:
    """The tables a table is a partition of or inherits from, in any of the snapshots."""
    for snapshot in snapshots:
        for name in ("partition_of", "inherits"):
            yield from split_lines(_field(table, name, snapshot))
