"""Generate the DDL that changes the first side of a comparison into the second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.diff.ddl import attributes
from circle_migrate.diff.ddl.attributes import LINE, parse_acl
from circle_migrate.diff.ddl.dependencies import Catalog
from circle_migrate.diff.ddl.generate import statements
from circle_migrate.diff.ddl.kinds import KINDS
from circle_migrate.diff.ddl.plan import ChangePlan
from circle_migrate.diff.ddl.statement import Statement
from circle_migrate.diff.implied import drop_implied
from circle_migrate.diff.result import Comparison
from circle_migrate.diff.scope import MAINTAIN_ITEM, MAINTAIN_SINCE
from circle_migrate.postgres.catalog.snapshot import Change, Fields, ObjectKey, Op, changes_between
from circle_migrate.postgres.identifier import split_lines

_MAINTAIN = "MAINTAIN"
_WITHOUT_COMMAND = frozenset({"of", "generated_name", "position"})


@dataclass(frozen=True, slots=True)
class MigrationScript:
    """The DDL that changes one side of a comparison into the other.

    `before` and `after` are the origins of the sides. `incomplete` names the differences that the statements
    leave; it is empty if none is left. `plan` has the operations behind the statements.
    """

    comparison: Comparison
    before: str
    after: str
    statements: tuple[Statement, ...]
    incomplete: tuple[str, ...]
    plan: ChangePlan


def generate(comparison: Comparison, *, undo: bool = False) -> MigrationScript:
    """Return the DDL for the differences of a comparison only, or the DDL that undoes it.

    A rename is a DROP and a CREATE.
    """
    before, after = comparison.before, comparison.after
    sides = [(before.origin, Catalog(before.objects)), (after.origin, Catalog(_target(comparison)))]
    (source, start), (target, end) = reversed(sides) if undo else sides
    plan = ChangePlan(start, end, before.major)
    incomplete = (*_incomplete(plan), *_unsupported_privileges(comparison))
    return MigrationScript(comparison, source, target, statements(plan), incomplete, plan)


def _target(comparison: Comparison) -> dict[ObjectKey, Fields]:
    """Return the objects of the first side after the changes of the comparison and the implied ones."""
    objects = dict(comparison.before.objects)
    for change in _with_implied(comparison):
        if change.op is Op.REMOVED:
            objects.pop(change.key, None)
        elif change.op is Op.ADDED:
            objects[change.key] = _adapted(comparison, comparison.after.objects[change.key], None)
        else:
            current = objects[change.key]
            fields = {**current, **{name: after for name, (_, after) in change.fields.items()}}
            objects[change.key] = _adapted(comparison, fields, current)
    return objects


def _with_implied(comparison: Comparison) -> list[Change]:
    """Return the differences, and the changes that `drop_implied` removed because of them."""
    before, after = comparison.before, comparison.after
    reported = [difference.change for difference in comparison.differences]
    keys = {change.key for change in reported}
    changes = changes_between(before, after)
    independent = keys | {change.key for change in drop_implied(changes, before, after)}
    implied = [change for change in changes if change.key not in independent]
    # A change that only an unreported change implies is left out, then those that depend on it.
    while independent := {change.key for change in drop_implied([*reported, *implied], before, after)} - keys:
        implied = [change for change in implied if change.key not in independent]
    return [*reported, *implied]


def _incomplete(plan: ChangePlan) -> tuple[str, ...]:
    """Return the differences without a statement."""
    changed = sorted(plan.created | plan.altered | plan.replaced | plan.renamed)
    differences = (f"{difference} of {key}" for key in changed for difference in _unsupported(plan, key))
    return tuple(dict.fromkeys([*differences, *_column_orders(plan)]))


def _unsupported(plan: ChangePlan, key: ObjectKey) -> list[str]:
    kind, change = KINDS[key.kind], plan.change(key)
    if not kind.can_create and plan.is_created(key):
        return ["definition"]
    supported = kind.covers | kind.follows | kind.alters.keys() | attributes.NAMES | _WITHOUT_COMMAND
    fields = sorted((change.before.keys() | change.after.keys()) - supported)
    names = [name.replace("_", " ") for name in fields if change.differs(name)]
    others = [kind.unsupported(change) if kind.unsupported else None, attributes.unsupported_grants(change)]
    return [*names, *filter(None, others)]


def _column_orders(plan: ChangePlan) -> Iterator[str]:
    """Yield the tables whose columns end in another order; gaps in the positions mean any order will do."""
    for table in sorted(plan.before.objects.keys() & plan.after.objects.keys() - plan.replaced):
        columns = plan.after.parts_of(table, "column")
        positions = [int(plan.after.value(key, "position") or 0) for key in columns]
        kept = [key for key in plan.before.parts_of(table, "column") if not plan.is_dropped(key)]
        new = [key for key in columns if plan.is_created(key)]
        if positions == list(range(1, len(columns) + 1)) and columns != [*kept, *new]:
            yield f"column order of {table}"


def _adapted(comparison: Comparison, target: Fields, current: Fields | None) -> Fields:
    """Return an object of the second side with MAINTAIN only if the first side's server has it.

    An older server cannot grant it; a script for a newer server must not revoke it because the older side
    lacks it: roles with any privilege keep it, and the owner of a new object gets it. `current` is the object
    on the first side.
    """
    supported, known = (side.major >= MAINTAIN_SINCE for side in (comparison.before, comparison.after))
    if not target.get("acl") or supported == known:
        return target
    granted = parse_acl((current or {}).get("acl"))
    owner = target.get("owner") or target.get("role")
    lines = []
    for line in split_lines(target.get("acl")):
        match = LINE.fullmatch(line)
        role, privileges = match.group(1, 2) if match else ("", "")
        option = granted.get(role, {}).get(_MAINTAIN, False if current is None and role == owner else None)
        if not supported and privileges.rstrip("*") != _MAINTAIN:
            lines.append(MAINTAIN_ITEM.sub("", line))
        elif supported and match and option is not None:
            lines.append(f"{line[: match.end(2)]}, {_MAINTAIN}{'*' * option}{line[match.end(2) :]}")
        elif supported:
            lines.append(line)
    return {**target, "acl": "\n".join(lines)}


def _unsupported_privileges(comparison: Comparison) -> Iterator[str]:
    """Yield the privileges that the first side's server does not have."""
    for difference in comparison.differences if comparison.before.major < MAINTAIN_SINCE else ():
        acl = difference.change.fields.get("acl", (None, None))[1]
        if any(list(granted) == [_MAINTAIN] for granted in parse_acl(acl).values()):
            yield f"privilege {_MAINTAIN}, since PostgreSQL {MAINTAIN_SINCE}, of {difference.change.key}"
