"""Filter changes: by models, server versions, options, ignore rules and equivalent texts."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from circle_migrate.config.ignore_rule import IgnoreRule
from circle_migrate.diff.describe import count_kinds, format_counts, label
from circle_migrate.postgres.catalog.snapshot import Change, ObjectKey, Op, Snapshot

EquivalenceAnswers = Mapping[tuple[ObjectKey, str], bool]
"""Whether the two texts of a field are equivalent; fields without an answer are not in it."""


class Models(StrEnum):
    """The side of a comparison that comes from models."""

    BEFORE = "before"
    AFTER = "after"


_MODEL_KINDS = frozenset(
    {"table", "column", "constraint", "index", "sequence", "enum", "domain", "domain constraint"}
)
"""The kinds that MetaData can express. It names schemas, but does not list all of them."""

_RIGHTS = {"owner", "acl", "sequence_acl", "rls", "rls_forced", "triggers", "replica_identity"}
_STORAGE = {"access_method", "clustered", "compression", "statistics", "storage", "sequence_persistence"}
_UNSUPPORTED_FIELDS = _RIGHTS | _STORAGE | {"sequence_comment"}

_COMMENTED = frozenset({"table", "column", "constraint"})
"""The kinds that can have a comment in models."""

UNSUPPORTED_BY_MODELS = "models cannot express them"

_PRINTED_DIFFERENTLY = frozenset({"view", "materialized view", "rule"})
"""Kinds whose definition is printed differently since PostgreSQL 16, which omits qualifiers."""

# https://www.postgresql.org/docs/17/release-17.html: a new privilege, which owners have by default.
MAINTAIN_SINCE = 17
MAINTAIN_ITEM = re.compile(r", MAINTAIN\b\*?")


@dataclass(slots=True)
class ChangeSet:
    """The remaining changes, and descriptions of what is not compared."""

    changes: list[Change]
    not_compared: list[str] = field(default_factory=list)

    def keep(self, changes: Iterable[Change | None]) -> None:
        """Replace the changes by these, without None."""
        self.changes = [change for change in changes if change is not None]

    def leave_out(self, changes: Sequence[Change], reason: str) -> None:
        """Remove these changes and those of their parts, and note the reason; parts are not counted."""
        if not changes:
            return
        keys = {change.key for change in changes}
        counts = count_kinds(change.key.kind for change in changes if change.owner not in keys)
        self.not_compared.append(f"{format_counts(counts)}: {reason}")
        self.keep(change for change in self.changes if not {change.key, change.owner} & keys)


def within_models(change_set: ChangeSet, models: Models, before: Snapshot, after: Snapshot) -> None:
    """Leave out what models cannot express."""
    op, snapshot = (Op.ADDED, after) if models is Models.BEFORE else (Op.REMOVED, before)
    not_in_models = [change for change in change_set.changes if change.op is op]
    unsupported = [change for change in not_in_models if _unsupported_by_models(change)]
    change_set.leave_out(unsupported, UNSUPPORTED_BY_MODELS)
    tables = {change.key for change in not_in_models} | {None}
    partitions = [change for change in not_in_models if _root_table(change.key, snapshot) not in tables]
    change_set.leave_out(partitions, "they are partitions, which models do not list")
    counts = Counter(
        (label(name), change.key.kind)
        for change in change_set.changes
        for name in _unsupported_fields(change)
    )
    if counts:
        fields = sorted(counts.items())
        texts = (f"{name} of {format_counts({kind: count})}" for (name, kind), count in fields)
        change_set.not_compared.append(f"{', '.join(texts)}: {UNSUPPORTED_BY_MODELS}")
    change_set.keep(without_fields(change, _unsupported_fields(change)) for change in change_set.changes)


def _root_table(key: ObjectKey, snapshot: Snapshot) -> ObjectKey | None:
    """Return the topmost partitioned table of a partition; None for other objects."""
    root = None
    while parent := snapshot.value(root or key, "partition_of"):
        root = ObjectKey("table", parent)
    return root


def _unsupported_by_models(change: Change) -> bool:
    if change.key.kind == "column" and change.owner is not None:
        return change.owner.kind not in ("table", "foreign table")
    return change.key.kind not in _MODEL_KINDS


def _unsupported_fields(change: Change) -> set[str]:
    if change.op is not Op.CHANGED:
        return set()
    comment = set() if change.key.kind in _COMMENTED else {"comment"}
    return change.fields.keys() & (_UNSUPPORTED_FIELDS | comment)


def without_order(change_set: ChangeSet, *snapshots: Snapshot) -> None:
    """Leave out the positions of columns, and note the tables whose columns have another order."""
    changed = (change for change in change_set.changes if change.op is Op.CHANGED)
    tables = {change.owner for change in changed if "position" in change.fields}
    count = tables and _count_reordered(tables, *snapshots)
    if count:
        order = f"the order of columns of {format_counts({'table': count})}"
        change_set.not_compared.append(f"{order}: use --column-order to compare it")
    change_set.keep(without_fields(change, {"position"}) for change in change_set.changes)


def _count_reordered(tables: Collection[ObjectKey | None], before: Snapshot, after: Snapshot) -> int:
    """Return the number of tables whose common columns have another order."""
    positions: dict[str | None, list[tuple[int, int]]] = {str(table): [] for table in tables}
    for key, fields in before.objects.items():
        table = fields.get("of")
        if key.kind == "column" and table in positions:
            old, new = fields.get("position"), after.value(key, "position")
            if old and new:
                positions[table].append((int(old), int(new)))
    orders = ([new for _, new in sorted(pairs)] for pairs in positions.values())
    return sum(order != sorted(order) for order in orders)


def without_not_null(change_set: ChangeSet, reason: str, *snapshots: Snapshot) -> None:
    """Leave out not-null constraints: their columns say the same, except NOT VALID and NO INHERIT."""
    constraints = [
        change
        for change in change_set.changes
        if "not null" in (snapshot.value(change.key, "type") for snapshot in snapshots)
    ]
    if constraints:
        counts = format_counts({"not null constraint": len(constraints)})
        change_set.not_compared.append(f"NOT VALID and NO INHERIT of {counts}: {reason}")
        change_set.keep(change for change in change_set.changes if change not in constraints)


def without_new_privileges(change_set: ChangeSet, before: Snapshot, after: Snapshot) -> None:
    """Leave out privileges that only one of the two server versions has."""
    if (before.major >= MAINTAIN_SINCE) != (after.major >= MAINTAIN_SINCE):
        change_set.keep(map(_without_maintain, change_set.changes))


def _without_maintain(change: Change) -> Change | None:
    if change.op is not Op.CHANGED or "acl" not in change.fields:
        return change
    old, new = (text if text is None else MAINTAIN_ITEM.sub("", text) for text in change.fields["acl"])
    if old == new:
        return without_fields(change, {"acl"})
    return replace(change, fields={**change.fields, "acl": (old, new)})


def drop_version_formatting(change_set: ChangeSet, answers: EquivalenceAnswers) -> None:
    """Leave out definitions without an answer that two server versions print differently."""
    changed = (change for change in change_set.changes if change.op is Op.CHANGED)
    printed = {change.key for change in changed if "definition" in change.fields}
    unknown = {
        key for key in printed if key.kind in _PRINTED_DIFFERENTLY and (key, "definition") not in answers
    }
    if unknown:
        texts = format_counts(count_kinds(key.kind for key in unknown))
        change_set.not_compared.append(f"the text of {texts}: the servers print it differently")
    change_set.keep(
        without_fields(change, {"definition"}) if change.key in unknown else change
        for change in change_set.changes
    )


def split_equivalent(
    changes: Iterable[Change], answers: EquivalenceAnswers
) -> tuple[list[Change], list[Change]]:
    """Return the changes without equivalent texts, and the changes that have no other difference."""
    kept, equivalent = [], []
    for change in changes:
        fields = {name for name in change.fields if answers.get((change.key, name))}
        if fields and change.fields.keys() - fields == {"definition"}:
            fields.add("definition")  # of a policy: it consists of the other fields
        remaining = without_fields(change, fields)
        if remaining is None:
            equivalent.append(change)
        else:
            kept.append(remaining)
    return kept, equivalent


def without_ignored(
    changes: Iterable[Change], database: str, rules: Sequence[IgnoreRule]
) -> tuple[list[Change], dict[str, int]]:
    """Return the changes that no rule hides, and the number of changes that each rule hides."""
    counts: Counter[str] = Counter()
    kept = []
    for change in changes:
        remaining: Change | None = change
        for rule in rules:
            if remaining is not None and rule.matches(database, str(change.key)):
                visible = without_fields(remaining, {rule.field}) if rule.field else None
                counts[rule.text] += visible is not remaining
                remaining = visible
        if remaining is not None:
            kept.append(remaining)
    return kept, dict(+counts)


def without_fields(change: Change, names: Collection[str]) -> Change | None:
    """Return a change without these fields, None if no other differs; a whole object keeps all fields."""
    if change.op is not Op.CHANGED or not any(name in change.fields for name in names):
        return change
    fields = {name: sides for name, sides in change.fields.items() if name not in names}
    return replace(change, fields=fields) if fields else None
