"""What a plan leaves different, in words that name the object."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.core.catalog import Key
from circle_migrate.ddl import attributes
from circle_migrate.ddl.kinds import KINDS
from circle_migrate.ddl.plan import Plan

_FOLLOWS_FROM_OTHERS = frozenset({"of", "generated_name", "position"})


def incomplete(plan: Plan) -> tuple[str, ...]:
    """Each thing that differs and has no statement."""
    changed = sorted(plan.created | plan.altered | plan.replaced | plan.renamed)
    lacking = (f"{what} of {key}" for key in changed for what in _lacking(plan, key))
    return tuple(dict.fromkeys([*lacking, *_misplaced(plan)]))


def _lacking(plan: Plan, key: Key) -> list[str]:
    kind, step = KINDS[key.kind], plan.step(key)
    if not kind.makeable and plan.made(key):
        return ["all"]
    known = kind.covers | kind.follows | kind.alters.keys() | attributes.NAMES | _FOLLOWS_FROM_OTHERS
    unknown = sorted((step.before.keys() | step.after.keys()) - known)
    words = [name.replace("_", " ") for name in unknown if step.differs(name)]
    return [*words, *filter(None, [kind.lacks(step), attributes.lacking(step)])]


def _misplaced(plan: Plan) -> Iterator[str]:
    """Tables whose columns end in another order; positions with gaps say that nobody asks for an order."""
    for table in sorted(plan.before.objects.keys() & plan.after.objects.keys() - plan.replaced):
        columns = plan.after.parts_of(table, "column")
        positions = [int(plan.after.value(key, "position") or 0) for key in columns]
        kept = [key for key in plan.before.parts_of(table, "column") if not plan.gone(key)]
        new = [key for key in columns if plan.made(key)]
        if positions == list(range(1, len(columns) + 1)) and columns != [*kept, *new]:
            yield f"column order of {table}"
