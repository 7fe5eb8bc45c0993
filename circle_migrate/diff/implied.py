"""Find changes that another change implies, and objects that differ in their name only."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import base_name, split_lines

_NOT_INHERITED = frozenset(
    {"of", "position", "inherited", "local", "owner", "acl", "comment", "constraint", "generated_name"}
)
"""Fields that an inherited part does not take from its parent."""

_NAME_DEPENDENT = frozenset({"of", "position", "constraint", "generated_name", "owned_by"})
"""Fields that differ with the name or the position of an object."""

_NEVER_RENAMED = frozenset({"schema", "extension", "setting", "default privileges"})


def drop_implied(changes: Sequence[Change], before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the changes without those that another change implies, as those of a missing table's columns."""
    one_sided = {(change.key, change.op) for change in changes if change.op is not Op.CHANGED}
    by_owner: dict[ObjectKey | None, list[Change]] = {}
    for change in changes:
        by_owner.setdefault(change.owner, []).append(change)
    return [
        change
        for change in changes
        if not any((cause, change.op) in one_sided for cause in _causes(change, before, after))
        and not _is_inherited(change, by_owner, before, after)
    ]


def _causes(change: Change, *snapshots: Snapshot) -> Iterator[ObjectKey]:
    """Yield the objects whose creation or removal includes that of the object."""
    owner = change.owner
    if owner is not None:
        yield owner
    yield from (ObjectKey("table", name) for name in change.fields.get("partition_of", ()) if name)
    if change.key.kind == "sequence":
        yield from (ObjectKey("column", name) for name in change.fields.get("owned_by", ()) if name)
    if change.key.kind == "index" and owner is not None:
        names = {snapshot.value(change.key, "constraint") for snapshot in snapshots} - {None}
        yield from (ObjectKey("constraint", f"{owner.identity}.{name}") for name in names)


def _is_inherited(
    change: Change, by_owner: Mapping[ObjectKey | None, Sequence[Change]], *snapshots: Snapshot
) -> bool:
    """Return whether a parent of the table has the same change, which its partitions and children inherit."""
    owner = change.owner
    if owner is None or not any(snapshot.value(change.key, "inherited") for snapshot in snapshots):
        return False
    return any(
        _is_same_change(parent_change, change)
        for parent in parents(owner, *snapshots)
        for kind in ("table", "foreign table")
        for parent_change in by_owner.get(ObjectKey(kind, parent), ())
    )


def _is_same_change(parent: Change, child: Change) -> bool:
    if (parent.op, parent.key.kind) != (child.op, child.key.kind):
        return False
    parent_fields, child_fields = _inherited_fields(parent), _inherited_fields(child)
    if child.key.kind == "trigger" and base_name(parent.key.identity) != base_name(child.key.identity):
        return False
    if child.key.kind in {"index", "trigger"}:  # the definition contains the name of the index or table
        return parent_fields.keys() == child_fields.keys()
    return parent_fields == child_fields


def _inherited_fields(change: Change) -> dict[str, tuple[str | None, str | None]]:
    fields = change.fields.items()
    return {name: sides for name, sides in fields if name not in _NOT_INHERITED and sides != (None, None)}


def parents(table: ObjectKey, *snapshots: Snapshot) -> Iterator[str]:
    """Yield the tables that a table is a partition of or inherits from, in any of the snapshots."""
    for snapshot in snapshots:
        for name in ("partition_of", "inherits"):
            yield from split_lines(snapshot.value(table, name))


def without_generated_names(changes: Sequence[Change]) -> list[Change]:
    """Return the changes without pairs of objects that differ only in names that PostgreSQL generated.

    The number in a generated name depends on the names in use when the object was created.
    """
    one_sided = (change for change in changes if change.op is not Op.CHANGED)
    generated = [change for change in one_sided if "yes" in change.fields.get("generated_name", ())]
    missing: dict[object, list[ObjectKey]] = {}
    for change in generated:
        if change.op is Op.REMOVED:
            missing.setdefault(_shape(change), []).append(change.key)
    same = set()
    for change in generated:
        candidates = missing.get(_shape(change)) if change.op is Op.ADDED else None
        if candidates:
            same |= {candidates.pop(0), change.key}
    indexes = {
        change.key
        for change in changes
        if change.owner is not None
        for name in change.fields.get("constraint", ())
        if ObjectKey("constraint", f"{change.owner.identity}.{name}") in same
    }
    return [change for change in changes if change.key not in same | indexes]


def _shape(change: Change) -> tuple[object, ...]:
    """Return the properties of an extra or missing object except its name."""
    fields = {name: before if after is None else after for name, (before, after) in change.fields.items()}
    return (change.key.kind, change.owner, _without_names(fields.items(), base_name(change.key.identity)))


def _without_names(fields: Iterable[tuple[str, str | None]], *names: str) -> frozenset[tuple[str, str]]:
    pattern = re.compile("|".join(rf'(?<![\w"]){re.escape(name)}(?![\w"])' for name in names))
    return frozenset(
        (field, pattern.sub("?", text)) for field, text in fields if text and field not in _NAME_DEPENDENT
    )


def renames(changes: Sequence[Change], before: Snapshot, after: Snapshot) -> dict[ObjectKey, ObjectKey]:
    """Return the missing and extra objects that differ in their name only, mapped in both directions.

    Objects with several candidates are left out: the result is a hint that must be right.
    """
    shapes: dict[object, dict[Op, list[ObjectKey]]] = {}
    kinds = {op: {change.key.kind for change in changes if change.op is op} for op in (Op.REMOVED, Op.ADDED)}
    both = (kinds[Op.REMOVED] & kinds[Op.ADDED]) - _NEVER_RENAMED
    parts = {Op.REMOVED: _parts(before), Op.ADDED: _parts(after)} if "table" in both else {}
    for change in changes:
        if change.op is Op.CHANGED or change.key.kind not in both:
            continue
        shape = _shape(change)
        if change.key.kind == "table":
            snapshot = before if change.op is Op.REMOVED else after
            shape = (*shape, _table_content(change.key, snapshot, parts[change.op]))
        shapes.setdefault(shape, {Op.REMOVED: [], Op.ADDED: []})[change.op].append(change.key)
    renamed: dict[ObjectKey, ObjectKey] = {}
    for keys in shapes.values():
        if len(keys[Op.REMOVED]) == len(keys[Op.ADDED]) == 1:
            [missing], [extra] = keys.values()
            renamed |= {missing: extra, extra: missing}
    return renamed


def _parts(snapshot: Snapshot) -> dict[str | None, list[ObjectKey]]:
    parts: dict[str | None, list[ObjectKey]] = {}
    for key, fields in snapshot.objects.items():
        parts.setdefault(fields.get("of"), []).append(key)
    return parts


def _table_content(
    table: ObjectKey, snapshot: Snapshot, parts: dict[str | None, list[ObjectKey]]
) -> frozenset[object]:
    """Return the parts of a table without names, except those of the columns."""
    return frozenset(
        (
            key.kind,
            base_name(key.identity) if key.kind == "column" else None,
            _without_names(snapshot.objects[key].items(), base_name(table.identity), base_name(key.identity)),
        )
        for key in parts.get(str(table), ())
    )
