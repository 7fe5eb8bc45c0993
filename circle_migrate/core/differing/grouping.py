"""Differences by the object they belong to: a table with its columns, constraints, indexes and policies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.core.catalog import Key, Snapshot
from circle_migrate.core.differences import Comparison, Diff, Difference
from circle_migrate.core.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Group:
    """An object of which something differs: itself, whose difference comes first, or what belongs to it."""

    root: Key
    differences: tuple[Difference, ...]


class Ownership:
    """Which object belongs to which in some snapshots; in the last of them, where they disagree."""

    def __init__(self, *snapshots: Snapshot) -> None:
        objects = {key: fields for snapshot in snapshots for key, fields in snapshot.objects.items()}
        named = {str(key): key for key in objects}
        owners = ((key, named.get(fields.get("of") or "")) for key, fields in objects.items())
        self._owners = {key: owner for key, owner in owners if owner is not None and owner != key}
        self._owned: dict[Key, list[Key]] = {}
        for key, owner in sorted(self._owners.items()):
            self._owned.setdefault(owner, []).append(key)

        self._partitions: dict[str, list[Key]] = {}
        for key, fields in objects.items():
            if fields.get("partition_of"):
                self._partitions.setdefault(fields["partition_of"] or "", []).append(key)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of objects that others belong to."""
        return frozenset(key.kind for key in self._owned)

    def root(self, key: Key) -> Key:
        """The object that all it belongs to belongs to; itself where it belongs to none."""
        seen = {key}
        while (owner := self._owners.get(key)) is not None and owner not in seen:
            key = owner
            seen.add(key)
        return key

    def partitions(self, table: Key) -> Iterator[Key]:
        """The partitions of a table and theirs."""
        for partition in self._partitions.get(table.identity, ()):
            yield partition
            yield from self.partitions(partition)

    def of(self, key: Key) -> Iterator[Key]:
        """What belongs to an object, and what belongs to that; by kind and identity at each depth."""
        seen, level = {key}, [key]
        while level:
            level = [owned for each in level for owned in self._owned.get(each, ()) if owned not in seen]
            seen.update(level)
            yield from level


def grouped(comparison: Comparison, ownership: Ownership) -> tuple[Group, ...]:
    """Every difference once, by object; the objects by kind and identity."""
    found: dict[Key, list[Difference]] = {}
    for difference in comparison.differences:
        found.setdefault(ownership.root(difference.change.key), []).append(difference)
    return tuple(
        Group(root, tuple(sorted(found[root], key=lambda each: (each.change.key != root, each.change.key))))
        for root in sorted(found)
    )


def unreached(diff: Diff) -> tuple[Finding, ...]:
    """What prevented comparisons: the errors about databases of which there is none, or about all."""
    compared = {comparison.database for comparison in diff.comparisons}
    errors = (found for found in diff.findings if found.severity is Severity.ERROR)
    return tuple(found for found in errors if found.database not in compared)
