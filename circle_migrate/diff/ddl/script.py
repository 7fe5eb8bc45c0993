"""From a comparison to the statements that lead from its first side to its second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from circle_migrate.diff.ddl import attributes
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.generate import statements
from circle_migrate.diff.ddl.kinds import KINDS
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.server_version import adapted, unknown
from circle_migrate.diff.ddl.statement import Statement
from circle_migrate.diff.renames_and_implied import drop_implied
from circle_migrate.diff.result import Comparison
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op, changes_between

_FOLLOWS_FROM_OTHERS = frozenset({"of", "generated_name", "position"})


@dataclass(frozen=True, slots=True)
class MigrationScript:
    """The DDL that leads one database from one side of a comparison to the other.

    `before` and `after` say where from and where to. `incomplete` names what the statements leave different,
    in words; empty means that they lead to a catalogue without a difference. `plan` is what was decided
    before it was written.
    """

    comparison: Comparison
    before: str
    after: str
    statements: tuple[Statement, ...]
    incomplete: tuple[str, ...]
    plan: ChangePlan

    @property
    def database(self) -> str:
        """The database it is for."""
        return self.comparison.database


def generate(comparison: Comparison) -> MigrationScript:
    """The DDL for the differences of a comparison and for no others; renames are never guessed."""
    before, after = comparison.before, comparison.after
    plan = ChangePlan(_catalog(before.objects), _catalog(_target(comparison)), before.major)
    return _generate(comparison, plan, before.origin, after.origin)


def reverse(comparison: Comparison) -> MigrationScript:
    """The way back: from what the sketch leads to, to where it began."""
    before, after = comparison.before, comparison.after
    plan = ChangePlan(_catalog(_target(comparison)), _catalog(before.objects), before.major)
    return _generate(comparison, plan, after.origin, before.origin)


def _generate(comparison: Comparison, plan: ChangePlan, before: str, after: str) -> MigrationScript:
    lacking = (*_incomplete(plan), *unknown(comparison))
    return MigrationScript(comparison, before, after, statements(plan), lacking, plan)


def _catalog(objects: Mapping[ObjectKey, Fields]) -> Catalog:
    return Catalog(
        {
            key: {name: value for name, value in fields.items() if value is not None}
            for key, fields in objects.items()
        }
    )


def _target(comparison: Comparison) -> dict[ObjectKey, Fields]:
    """The first side with the differences, and what follows from them, made good."""
    objects = dict(comparison.before.objects)
    for change in _with_followers(comparison):
        if change.op is Op.REMOVED:
            objects.pop(change.key, None)
        elif change.op is Op.ADDED:
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
    every = changes_between(before, after)
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


def _incomplete(plan: ChangePlan) -> tuple[str, ...]:
    """Each thing that differs and has no statement."""
    changed = sorted(plan.created | plan.altered | plan.replaced | plan.renamed)
    lacking = (f"{what} of {key}" for key in changed for what in _lacking(plan, key))
    return tuple(dict.fromkeys([*lacking, *_misplaced(plan)]))


def _lacking(plan: ChangePlan, key: ObjectKey) -> list[str]:
    kind, step = KINDS[key.kind], plan.step(key)
    if not kind.makeable and plan.is_created(key):
        return ["all"]
    known = kind.covers | kind.follows | kind.alters.keys() | attributes.NAMES | _FOLLOWS_FROM_OTHERS
    unknown = sorted((step.before.keys() | step.after.keys()) - known)
    words = [name.replace("_", " ") for name in unknown if step.differs(name)]
    return [*words, *filter(None, [kind.unsupported(step), attributes.lacking(step)])]


def _misplaced(plan: ChangePlan) -> Iterator[str]:
    """Tables whose columns end in another order; positions with gaps say that nobody asks for an order."""
    for table in sorted(plan.before.objects.keys() & plan.after.objects.keys() - plan.replaced):
        columns = plan.after.parts_of(table, "column")
        positions = [int(plan.after.value(key, "position") or 0) for key in columns]
        kept = [key for key in plan.before.parts_of(table, "column") if not plan.is_dropped(key)]
        new = [key for key in columns if plan.is_created(key)]
        if positions == list(range(1, len(columns) + 1)) and columns != [*kept, *new]:
            yield f"column order of {table}"
