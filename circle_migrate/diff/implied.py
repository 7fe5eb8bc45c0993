"""Drop changes that another change implies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot
from circle_migrate.postgres.identifier import base_name, split_lines

_NOT_INHERITED = frozenset(
    {"of", "position", "inherited", "local", "owner", "acl", "comment", "constraint", "generated_name"}
)
"""Fields that an inherited part does not take from its parent."""


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
        names = {_field(change.key, "constraint", snapshot) for snapshot in snapshots} - {None}
        yield from (ObjectKey("constraint", f"{owner.identity}.{name}") for name in names)


def _is_inherited(
    change: Change, by_owner: Mapping[ObjectKey | None, Sequence[Change]], *snapshots: Snapshot
) -> bool:
    """Return whether a parent of the table has the same change, which its partitions and children inherit."""
    owner = change.owner
    if owner is None or not any(_field(change.key, "inherited", snapshot) for snapshot in snapshots):
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
    if child.key.kind == "index":  # its definition contains its name
        return parent_fields.keys() == child_fields.keys()
    if child.key.kind == "trigger":  # its definition contains the name of its table
        same_name = base_name(parent.key.identity) == base_name(child.key.identity)
        return same_name and parent_fields.keys() == child_fields.keys()
    return parent_fields == child_fields


def _inherited_fields(change: Change) -> dict[str, tuple[str | None, str | None]]:
    return {
        name: sides
        for name, sides in change.fields.items()
        if name not in _NOT_INHERITED and sides != (None, None)
    }


def _field(key: ObjectKey, name: str, snapshot: Snapshot) -> str | None:
    return snapshot.objects.get(key, {}).get(name)


def parents(table: ObjectKey, *snapshots: Snapshot) -> Iterator[str]:
    """Yield the tables that a table is a partition of or inherits from, in any of the snapshots."""
    for snapshot in snapshots:
        for name in ("partition_of", "inherits"):
            yield from split_lines(_field(table, name, snapshot))
