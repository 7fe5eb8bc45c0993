"""Which changes count at all: what models can express, what two servers print alike, what was asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from circle_migrate.core.catalog import Change, Key, Op, Snapshot
from circle_migrate.core.differing.ignoring import without_fields
from circle_migrate.core.differing.wording import counted

Answers = Mapping[tuple[Key, str], bool]
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

_PRINTED_DIFFERENTLY = frozenset({"view", "materialized view", "rule"})
"""Kinds whose definitions two major versions print differently: PostgreSQL 16 leaves out qualifiers."""

# https://www.postgresql.org/docs/17/release-17.html: owners have it there; older servers do not know it.
_MAINTAIN_SINCE = 17
_MAINTAIN = re.compile(r", MAINTAIN\b\*?")


@dataclass(slots=True)
class Scope:
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
        whole = Counter(change.key.kind for change in changes if change.owner not in gone)
        self.not_compared.append(f"{counted(dict(sorted(whole.items())))}: {why}")
        self.keep(each for each in self.changes if each.key not in gone and each.owner not in gone)


def within_models(scope: Scope, models: Models, before: Snapshot, after: Snapshot) -> None:
    """Leave out what only the other side has and models have no words for."""
    other_only = Op.EXTRA if models is Models.BEFORE else Op.MISSING
    snapshot = after if models is Models.BEFORE else before
    theirs = [change for change in scope.changes if change.op is other_only]
    scope.leave_out([change for change in theirs if _wordless(change)], "models cannot express them")
    partitions = [each for each in theirs if snapshot.objects[each.key].get("partition_of")]
    scope.leave_out(partitions, "they are partitions, which models do not list")
    scope.keep(_in_words_of_models(change) for change in scope.changes)


def _wordless(change: Change) -> bool:
    if change.key.kind == "column" and change.owner is not None:
        return change.owner.kind not in ("table", "foreign table")
    return change.key.kind not in _EXPRESSIBLE


def _in_words_of_models(change: Change) -> Change | None:
    if change.op is not Op.CHANGED:
        return change
    commented = change.key.kind in _COMMENTED
    return without_fields(change, _INEXPRESSIBLE_FIELDS | (set() if commented else {"comment"}))


def without_not_null(changes: Iterable[Change], *snapshots: Snapshot) -> list[Change]:
    """The changes without NOT NULL constraints, which models cannot name and old servers do not have.

    Their columns say the same, but for NOT VALID and NO INHERIT.
    """
    return [change for change in changes if not _is_not_null(change, *snapshots)]


def _is_not_null(change: Change, *snapshots: Snapshot) -> bool:
    return any(each.objects.get(change.key, {}).get("type") == "not null" for each in snapshots)


def without_new_privileges(changes: Iterable[Change], before: Snapshot, after: Snapshot) -> list[Change]:
    """The changes without privileges that differ only in what one of the two servers does not have."""
    if min(before.major, after.major) >= _MAINTAIN_SINCE or max(before.major, after.major) < _MAINTAIN_SINCE:
        return list(changes)
    less = (without_fields(each, {"acl"}) if _only_maintain(each) else each for each in changes)
    return [each for each in less if each is not None]


def _only_maintain(change: Change) -> bool:
    one, other = (_MAINTAIN.sub("", text or "") for text in change.fields.get("acl", (None, None)))
    return change.op is Op.CHANGED and one == other


def printed_alike(scope: Scope, answers: Answers) -> None:
    """Leave out definitions that the two servers print each in its way, where PostgreSQL was not asked."""
    unsure = [
        change
        for change in scope.changes
        if change.op is Op.CHANGED
        and change.key.kind in _PRINTED_DIFFERENTLY
        and "definition" in change.fields
        and (change.key, "definition") not in answers
    ]
    if unsure:
        kinds = Counter(change.key.kind for change in unsure)
        what = counted(dict(sorted(kinds.items())))
        scope.not_compared.append(f"the text of {what}: the servers print it differently")
    keys = {change.key for change in unsure}
    scope.keep(
        without_fields(change, {"definition"}) if change.key in keys else change for change in scope.changes
    )


def settled(changes: Iterable[Change], answers: Answers) -> tuple[list[Change], list[Change]]:
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
