"""From a comparison to the statements that lead from its first side to its second."""

from __future__ import annotations

from collections.abc import Mapping

from circle_migrate.core.catalog import Change, Fields, Key, Op, compare
from circle_migrate.core.differences import Comparison
from circle_migrate.core.differing.pairing import drop_implied
from circle_migrate.ddl.completeness import incomplete
from circle_migrate.ddl.plan import Plan
from circle_migrate.ddl.references import Catalog
from circle_migrate.ddl.statements import Sketch
from circle_migrate.ddl.versions import adapted, unknown
from circle_migrate.ddl.writing import statements


def sketch(comparison: Comparison) -> Sketch:
    """The DDL for the differences of a comparison and for no others; renames are never guessed."""
    before, after = comparison.before, comparison.after
    plan = Plan(_catalog(before.objects), _catalog(_target(comparison)), before.major)
    return _sketch(comparison, plan, before.origin, after.origin)


def reverse(comparison: Comparison) -> Sketch:
    """The way back: from what the sketch leads to, to where it began."""
    before, after = comparison.before, comparison.after
    plan = Plan(_catalog(_target(comparison)), _catalog(before.objects), before.major)
    return _sketch(comparison, plan, after.origin, before.origin)


def _sketch(comparison: Comparison, plan: Plan, before: str, after: str) -> Sketch:
    lacking = (*incomplete(plan), *unknown(comparison))
    return Sketch(comparison, before, after, statements(plan), lacking, plan)


def _catalog(objects: Mapping[Key, Fields]) -> Catalog:
    return Catalog(
        {
            key: {name: value for name, value in fields.items() if value is not None}
            for key, fields in objects.items()
        }
    )


def _target(comparison: Comparison) -> dict[Key, Fields]:
    """The first side with the differences, and what follows from them, made good."""
    objects = dict(comparison.before.objects)
    for change in _with_followers(comparison):
        if change.op is Op.MISSING:
            objects.pop(change.key, None)
        elif change.op is Op.EXTRA:
            objects[change.key] = adapted(comparison, comparison.after.objects[change.key], None)
        else:
            news = {name: sides[1] for name, sides in change.fields.items()}
            had = objects[change.key]
            objects[change.key] = adapted(comparison, {**had, **news}, had)
    return objects


def _with_followers(comparison: Comparison) -> list[Change]:
    """The differences, and the changes that they bring along and that are not told again."""
    before, after = comparison.before, comparison.after
    told = [difference.change for difference in comparison.differences]
    every = compare(before, after)
    leading = {change.key for change in drop_implied(every, before, after)}
    keys = {change.key for change in told}
    leading |= keys
    followers = [change for change in every if change.key not in leading]
    while followers:
        alone = {change.key for change in drop_implied([*told, *followers], before, after)} - keys
        if not alone:
            break
        followers = [change for change in followers if change.key not in alone]
    return [*told, *followers]
