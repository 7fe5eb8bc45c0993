"""From two snapshots to what is to be said about them: the one place where differences are weighed.

First `relevant`, which says which changes count; then, where texts differ that may mean the same, somebody
asks PostgreSQL; then `judge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from circle_migrate.core.catalog import Change, Key, Op, Snapshot, compare
from circle_migrate.core.differences import Comparison, Difference
from circle_migrate.core.differing.aspects import Profile, weigh
from circle_migrate.core.differing.following import parents, without_followers
from circle_migrate.core.differing.ignoring import without_fields, without_ignored
from circle_migrate.core.differing.pairing import renames, without_generated_names
from circle_migrate.core.differing.scope import (
    Answers,
    Models,
    Scope,
    printed_alike,
    settled,
    within_models,
    without_new_privileges,
    without_not_null,
    without_order,
)
from circle_migrate.core.ignore_rule import IgnoreRule

_ORDER = frozenset({"position"})
_NEVER_COMPARED = frozenset({"generated_name", "inherited"})
"""What an object is known by, and no property of it."""

_FIRM_WITH_MODELS = frozenset({"comment"})
"""What fails where models are compared: they say it, so that a revision that does not is incomplete."""


def today() -> date:
    """The day in UTC, the same wherever a pipeline runs."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class Rules:
    """How the two snapshots of one database are judged.

    `firm` names fields whose differences fail under any profile. `models` is the side that can express less
    than a catalogue holds. Extra partitions of a table both sides have are counted, or with `partitions`
    compared as tables. `today` is the day that ends of ignore rules are compared with.
    """

    profile: Profile = Profile.DEFAULT
    firm: frozenset[str] = frozenset()
    models: Models | None = None
    column_order: bool = False
    partitions: bool = False
    ignore: tuple[IgnoreRule, ...] = ()
    today: date = field(default_factory=today)


def relevant(before: Snapshot, after: Snapshot, rules: Rules) -> Scope:
    """The changes that count, before anybody asked what texts mean; `judge` takes what this returns."""
    scope = Scope([])
    scope.keep(
        without_fields(change, _NEVER_COMPARED) if change.op is Op.CHANGED else change
        for change in compare(before, after)
    )
    if not rules.column_order:
        without_order(scope, before, after)
    if rules.models is not None:
        without_not_null(scope, "models cannot express them", before, after)
    elif before.major != after.major:
        without_not_null(scope, "not every version has them", before, after)
    scope.keep(without_new_privileges(scope.changes, before, after))
    if rules.models is not None:
        within_models(scope, rules.models, before, after)
    scope.keep(without_generated_names(scope.changes))
    return scope


def judge(
    before: Snapshot, after: Snapshot, scope: Scope, rules: Rules, answers: Answers | None = None
) -> Comparison:
    """Every difference with its weight, without those that follow from another one or that a rule hides."""
    answers = answers or {}
    if before.major != after.major:
        printed_alike(scope, answers)
    changes, equivalent = settled(scope.changes, answers)
    changes = without_followers(changes, before, after)
    counts: dict[str, int] = {}
    if not rules.partitions:
        changes, counts = _without_extra_partitions(changes, before, after)
    valid = [rule for rule in rules.ignore if not rule.has_expired(rules.today)]
    changes, ignored = without_ignored(changes, after.database, valid)
    return Comparison(
        before,
        after,
        tuple(_differences(changes, before, after, rules)),
        equivalent=tuple(equivalent),
        ignored=counts | ignored,
        compared=_compared(before, after),
        not_compared=tuple(scope.not_compared),
    )


def _differences(
    changes: list[Change], before: Snapshot, after: Snapshot, rules: Rules
) -> Iterable[Difference]:
    firm = rules.firm | (_FIRM_WITH_MODELS if rules.models is not None else frozenset())
    firm |= _ORDER if rules.column_order else frozenset()
    renamed = renames(changes, before, after)
    for change in changes:
        weight = weigh(change, rules.profile, firm)
        yield Difference(change, weight.aspect, weight.severity, renamed.get(change.key))


def _without_extra_partitions(
    changes: list[Change], before: Snapshot, after: Snapshot
) -> tuple[list[Change], dict[str, int]]:
    """The changes without partitions of managed tables, which come and go by themselves; and how many."""
    counts: Counter[str] = Counter()
    kept = []
    for change in changes:
        managed = change.op is Op.EXTRA and [
            name for name in parents(change.key, after) if _partitioned(name, before, after)
        ]
        if managed and "partition_bound" in change.fields:
            counts[f"extra partitions of {managed[0]}"] += 1
        else:
            kept.append(change)
    return kept, dict(counts)


def _partitioned(name: str, *snapshots: Snapshot) -> bool:
    return all(each.objects.get(Key("table", name), {}).get("partition_key") for each in snapshots)


def _compared(before: Snapshot, after: Snapshot) -> dict[str, int]:
    """How many objects were looked at, by kind."""
    return dict(sorted(Counter(key.kind for key in before.objects.keys() | after.objects.keys()).items()))
