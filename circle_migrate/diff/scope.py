"""Select the changes that count: by what models can express, server versions, options and ignore rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from circle_migrate.config.ignore_rule import IgnoreRule
from circle_migrate.diff.describe import counted, label, tally
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot

EquivalenceAnswers = Mapping[tuple[ObjectKey, str], bool]
"""Whether the two texts of an object's field mean the same, where PostgreSQL was asked and could tell."""


class Models(StrEnum):
    """Which side the models are."""

    BEFORE = "before"
    AFTER = "after"


_EXPRESSIBLE = frozenset(
    {
        "table",
        "column",
        "constraint",
        "index",
        "sequence",
        "enum",
        "domain",
        "domain constraint",
    }
)
"""The kinds MetaData can express. It names schemas, and does not say that there are no others."""

_INEXPRESSIBLE_FIELDS = frozenset(
    {
        "owner",
        "acl",
        "sequence_acl",
        "sequence_comment",
        "sequence_persistence",
        "rls",
        "rls_forced",
        "replica_identity",
        "storage",
        "compression",
        "statistics",
        "clustered",
        "triggers",
        "access_method",
    }
)

_COMMENTED = frozenset({"table", "column", "constraint"})
"""The kinds that models can comment."""

UNSUPPORTED_BY_MODELS = "models cannot express them"

_PRINTED_DIFFERENTLY = frozenset({"view", "materialized view", "rule"})
"""Kinds whose definitions two major versions print differently: PostgreSQL 16 leaves out qualifiers."""

# https://www.postgresql.org/docs/17/release-17.html: owners have it there; older servers do not know it.
MAINTAIN_SINCE = 17
MAINTAIN_ITEM = re.compile(r", MAINTAIN\b\*?")


@dataclass(slots=True)
class ChangeSet:
    """What remains of the changes, and in words what was left out."""

    changes: list[Change]
    not_compared: list[str] = field(default_factory=list)

    def keep(self, changes: Iterable[Change | None]) -> None:
        """Go on with these."""
        self.changes = [change for change in changes if change is not None]

    def leave_out(self, changes: Sequence[Change], why: str) -> None:
        """Leave these out with all that belongs to them, and say so; parts are not counted."""
        if not changes:
            return
        gone = {change.key for change in changes}
        whole = tally(change.key.kind for change in changes if change.owner not in gone)
        self.not_compared.append(f"{counted(whole)}: {why}")
        self.keep(each for each in self.changes if each.key not in gone and each.owner not in gone)


def within_models(change_set: ChangeSet, models: Models, before: Snapshot, after: Snapshot) -> None:
    """Leave out what only the other side has and models have no words for."""
    other_only = Op.ADDED if models is Models.BEFORE else Op.REMOVED
    snapshot = after if models is Models.BEFORE else before
    theirs = [change for change in change_set.changes if change.op is other_only]
    change_set.leave_out(
        [change for change in theirs if _unsupported_by_models(change)], UNSUPPORTED_BY_MODELS
    )
    tables = {change.key for change in theirs} | {None}
    partitions = [their for their in theirs if _partitioned(their.key, snapshot) not in tables]
    change_set.leave_out(partitions, "they are partitions, which models do not list")
    silent = Counter(
        (label(name), change.key.kind)
        for change in change_set.changes
        for name in _unsupported_fields(change)
    )
    if silent:
        words = (f"{words} of {counted({kind: number})}" for (words, kind), number in sorted(silent.items()))
        change_set.not_compared.append(f"{', '.join(words)}: {UNSUPPORTED_BY_MODELS}")
    change_set.keep(_supported_part(change) for change in change_set.changes)


def _partitioned(key: ObjectKey, snapshot: Snapshot) -> ObjectKey | None:
    """The table that a partition belongs to in the end; None for what is no partition."""
    object_key = None
    while parent := snapshot.objects.get(object_key or key, {}).get("partition_of"):
        object_key = ObjectKey("table", parent)
    return object_key


def _unsupported_by_models(change: Change) -> bool:
    if change.key.kind == "column" and change.owner is not None:
        return change.owner.kind not in ("table", "foreign table")
    return change.key.kind not in _EXPRESSIBLE


def _supported_part(change: Change) -> Change | None:
    silent = _unsupported_fields(change)
    return without_fields(change, silent) if silent else change


def _unsupported_fields(change: Change) -> set[str]:
    """The fields of a changed object that models say nothing about."""
    if change.op is not Op.CHANGED:
        return set()
    comment = set() if change.key.kind in _COMMENTED else {"comment"}
    return change.fields.keys() & (_INEXPRESSIBLE_FIELDS | comment)


def without_order(change_set: ChangeSet, *snapshots: Snapshot) -> None:
    """Leave out the places of columns; tables whose columns have another order are said."""
    moved = {change.owner for change in change_set.changes if _is_moved(change)}
    tables = moved and _reordered(moved, *snapshots)
    if tables:
        change_set.not_compared.append(
            f"the order of columns of {counted({'table': tables})}: ask with --column-order"
        )
    change_set.keep(
        without_fields(change, {"position"}) if _is_moved(change) else change for change in change_set.changes
    )


def _is_moved(change: Change) -> bool:
    return change.op is Op.CHANGED and "position" in change.fields


def _reordered(tables: Collection[ObjectKey | None], before: Snapshot, after: Snapshot) -> int:
    """How many of these have the columns that both sides know in another order."""
    places: dict[str, list[tuple[int, int]]] = {str(table): [] for table in tables}
    for key, fields in before.objects.items():
        if key.kind == "column" and fields.get("of") in places:
            one, other = fields.get("position"), after.objects.get(key, {}).get("position")
            if one and other:
                places[fields.get("of") or ""].append((int(one), int(other)))
    others = ([place for _, place in sorted(pairs)] for pairs in places.values())
    return sum(order != sorted(order) for order in others)


def without_not_null(change_set: ChangeSet, why: str, *snapshots: Snapshot) -> None:
    """Leave out NOT NULL constraints: their columns say the same, but for NOT VALID and NO INHERIT."""
    gone = [change for change in change_set.changes if _is_not_null(change, *snapshots)]
    if gone:
        change_set.not_compared.append(
            f"NOT VALID and NO INHERIT of {counted({'not null constraint': len(gone)})}: {why}"
        )
        change_set.keep(change for change in change_set.changes if change not in gone)


def _is_not_null(change: Change, *snapshots: Snapshot) -> bool:
    return any(snapshot.objects.get(change.key, {}).get("type") == "not null" for snapshot in snapshots)


def without_new_privileges(changes: Iterable[Change], before: Snapshot, after: Snapshot) -> list[Change]:
    """The changes without privileges that one of the two servers does not have."""
    if min(before.major, after.major) >= MAINTAIN_SINCE or max(before.major, after.major) < MAINTAIN_SINCE:
        return list(changes)
    less = (_without_maintain(change) for change in changes)
    return [each for each in less if each is not None]


def _without_maintain(change: Change) -> Change | None:
    if change.op is not Op.CHANGED or "acl" not in change.fields:
        return change
    one, other = (text if text is None else MAINTAIN_ITEM.sub("", text) for text in change.fields["acl"])
    if one == other:
        return without_fields(change, {"acl"})
    return replace(change, fields={**change.fields, "acl": (one, other)})


def drop_version_formatting(change_set: ChangeSet, answers: EquivalenceAnswers) -> None:
    """Leave out definitions that the two servers print each in its way, where PostgreSQL was not asked."""
    unsure = [
        change
        for change in change_set.changes
        if change.op is Op.CHANGED
        and change.key.kind in _PRINTED_DIFFERENTLY
        and "definition" in change.fields
        and (change.key, "definition") not in answers
    ]
    if unsure:
        texts = counted(tally(change.key.kind for change in unsure))
        change_set.not_compared.append(f"the text of {texts}: the servers print it differently")
    keys = {change.key for change in unsure}
    change_set.keep(
        without_fields(change, {"definition"}) if change.key in keys else change
        for change in change_set.changes
    )


def split_equivalent(
    changes: Iterable[Change], answers: EquivalenceAnswers
) -> tuple[list[Change], list[Change]]:
    """The changes without texts that mean the same, and those of which nothing else is left."""
    kept, equivalent = [], []
    for change in changes:
        same = {name for name in change.fields if answers.get((change.key, name))}
        less = without_fields(change, same | _implied(same, change.fields))
        if less is None:
            equivalent.append(change)
        else:
            kept.append(less)
    return kept, equivalent


def _implied(same: Collection[str], fields: Collection[str]) -> set[str]:
    """The definition of a policy is made of its other texts, and differs only where one of those does."""
    return {"definition"} if same and set(fields) - set(same) == {"definition"} else set()


def without_ignored(
    changes: Iterable[Change], database: str, rules: Iterable[IgnoreRule]
) -> tuple[list[Change], dict[str, int]]:
    """Return the changes that no rule hides, and how many objects each rule hid, in whole or in a field."""
    counts: dict[str, int] = {}
    rules = tuple(rules)
    kept = []
    for change in changes:
        remaining: Change | None = change
        for rule in rules:
            if remaining is None:
                break
            if not rule.matches(database, str(change.key)):
                continue
            less = _hide(remaining, rule.field)
            if less is not remaining:
                counts[rule.text] = counts.get(rule.text, 0) + 1
            remaining = less
        if remaining is not None:
            kept.append(remaining)
    return kept, counts


def _hide(change: Change, field: str | None) -> Change | None:
    """Return what is left of a change, or None; a field of an extra or missing object is never hidden."""
    if field is None:
        return None
    return without_fields(change, {field}) if change.op is Op.CHANGED else change


def without_fields(change: Change, names: Collection[str]) -> Change | None:
    """Return a change without these fields, None if no other differs; the change itself if it has none."""
    if not any(name in change.fields for name in names):
        return change
    fields = {name: sides for name, sides in change.fields.items() if name not in names}
    return replace(change, fields=fields) if fields else None
