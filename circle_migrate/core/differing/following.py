"""Which changes only follow from another one: the columns of a table that is missing as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from circle_migrate.core.catalog import Change, Fields, Key, Op, Snapshot
from circle_migrate.core.identifier import base_name, split_lines

_OF_ITS_PLACE = frozenset(
    {"of", "position", "inherited", "local", "owner", "acl", "comment", "constraint", "generated_name"}
)
"""Fields in which a part that a partition inherits may differ from that of its parent."""


def without_followers(changes: Sequence[Change], before: Snapshot, after: Snapshot) -> list[Change]:
    """The changes without those that another one brings along."""
    by_key = {change.key: change for change in changes}
    by_owner: dict[Key | None, list[Change]] = {}
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


def _goes_with_its_owner(change: Change, by_key: Mapping[Key, Change]) -> bool:
    """Whether the table, view or domain it belongs to is missing, or there besides, itself."""
    owner = by_key.get(change.owner) if change.owner is not None else None
    return change.op is not Op.CHANGED and owner is not None and owner.op is change.op


def _goes_with_its_parent(change: Change, by_key: Mapping[Key, Change]) -> bool:
    """Whether the partitioned table it is a partition of is missing, or there besides, too."""
    if change.op is Op.CHANGED:
        return False
    owners = (by_key.get(Key("table", name)) for name in change.fields.get("partition_of", ()) if name)
    return any(owner is not None and owner.op is change.op for owner in owners)


def _belongs_to_constraint(change: Change, by_key: Mapping[Key, Change], *snapshots: Snapshot) -> bool:
    """Whether it is the index of a constraint that is reported."""
    owner = change.owner
    if change.key.kind != "index" or owner is None:
        return False
    names = {_field(change.key, "constraint", snapshot) for snapshot in snapshots} - {None}
    constraints = (by_key.get(Key("constraint", f"{owner.identity}.{name}")) for name in names)
    return any(each is not None and each.op is change.op is not Op.CHANGED for each in constraints)


def _belongs_to_column(change: Change, by_key: Mapping[Key, Change]) -> bool:
    """Whether it is the sequence of a column that is missing, or there besides, too."""
    if change.key.kind != "sequence" or change.op is Op.CHANGED:
        return False
    columns = (by_key.get(Key("column", column)) for column in change.fields.get("owned_by", ()) if column)
    return any(column is not None and column.op is change.op for column in columns)


def _is_inherited(
    change: Change, by_owner: Mapping[Key | None, Sequence[Change]], *snapshots: Snapshot
) -> bool:
    """Whether the parent of its table has the same change, which its partitions and heirs get with it."""
    owner = change.owner
    if owner is None or not any(_field(change.key, "inherited", each) for each in snapshots):
        return False
    twins = (
        twin
        for parent in parents(owner, *snapshots)
        for kind in ("table", "foreign table")
        for twin in by_owner.get(Key(kind, parent), ())
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


def _field(key: Key, name: str, snapshot: Snapshot) -> str | None:
    fields: Fields = snapshot.objects.get(key, {})
    return fields.get(name)


def parents(table: Key, *snapshots: Snapshot) -> Iterator[str]:
    """The tables a table is a partition of or inherits from, in any of the snapshots."""
    for snapshot in snapshots:
        for name in ("partition_of", "inherits"):
            yield from split_lines(_field(table, name, snapshot))
