"""Objects of both sides that are the same but for their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from circle_migrate.core.catalog import Change, Key, Op, Snapshot
from circle_migrate.core.identifier import base_name

_TELL_NOTHING = frozenset({"of", "position", "constraint", "generated_name", "owned_by"})
"""Fields that differ with the name or the place of an object."""

_NEVER_RENAMED = frozenset({"schema", "extension", "setting", "default privileges"})


def without_generated_names(changes: Sequence[Change]) -> list[Change]:
    """The changes without pairs that differ in nothing but names which PostgreSQL made up.

    The number behind such a name depends on what else had it when the object was created.
    """
    generated = [
        change
        for change in changes
        if change.op is not Op.CHANGED and "yes" in change.fields.get("generated_name", ())
    ]
    same = {key for pair in _pairs(generated) for key in pair}
    indexes = {
        change.key
        for change in changes
        if change.owner is not None
        for name in change.fields.get("constraint", ())
        if Key("constraint", f"{change.owner.identity}.{name}") in same
    }
    return [change for change in changes if change.key not in same | indexes]


def _pairs(changes: Iterable[Change]) -> list[tuple[Key, Key]]:
    """Each missing object with an extra one of the same owner and the same fields."""
    missing: dict[object, list[Key]] = {}
    pairs = []
    changes = tuple(changes)
    for change in changes:
        if change.op is Op.MISSING:
            missing.setdefault(_shape(change), []).append(change.key)
    for change in changes:
        others = missing.get(_shape(change)) if change.op is Op.EXTRA else None
        if others:
            pairs.append((others.pop(0), change.key))
    return pairs


def _shape(change: Change) -> tuple[object, ...]:
    """What an extra or missing object is, its name left out."""
    fields = {name: sides[0] if sides[1] is None else sides[1] for name, sides in change.fields.items()}
    return (change.key.kind, change.owner, _nameless(fields.items(), base_name(change.key.identity)))


def _nameless(fields: Iterable[tuple[str, str | None]], *names: str) -> frozenset[tuple[str, str]]:
    pattern = re.compile("|".join(rf'(?<![\w"]){re.escape(name)}(?![\w"])' for name in names))
    return frozenset(
        (field, pattern.sub("?", text)) for field, text in fields if text and field not in _TELL_NOTHING
    )


def renames(changes: Sequence[Change], before: Snapshot, after: Snapshot) -> dict[Key, Key]:
    """Each missing object and the extra one that is the same but for its name, both ways round.

    Only where there is exactly one of each: a hint for people, to be right or to be silent.
    """
    shapes: dict[object, dict[Op, list[Key]]] = {}
    kinds = {op: {change.key.kind for change in changes if change.op is op} for op in (Op.MISSING, Op.EXTRA)}
    wanted = (kinds[Op.MISSING] & kinds[Op.EXTRA]) - _NEVER_RENAMED
    parts = {Op.MISSING: _parts(before), Op.EXTRA: _parts(after)} if "table" in wanted else {}
    for change in changes:
        if change.op is Op.CHANGED or change.key.kind not in wanted:
            continue
        shape = _shape(change)
        if change.key.kind == "table":
            snapshot = before if change.op is Op.MISSING else after
            shape = (*shape, _content(change.key, snapshot, parts[change.op]))
        shapes.setdefault(shape, {Op.MISSING: [], Op.EXTRA: []})[change.op].append(change.key)
    found: dict[Key, Key] = {}
    for sides in shapes.values():
        if len(sides[Op.MISSING]) == len(sides[Op.EXTRA]) == 1:
            [one], [other] = sides.values()
            found |= {one: other, other: one}
    return found


def _parts(snapshot: Snapshot) -> dict[str, list[Key]]:
    parts: dict[str, list[Key]] = {}
    for key, fields in snapshot.objects.items():
        if fields.get("of"):
            parts.setdefault(fields["of"] or "", []).append(key)
    return parts


def _content(table: Key, snapshot: Snapshot, parts: dict[str, list[Key]]) -> frozenset[object]:
    """What belongs to a table, without the table's name; names of columns count, others do not."""
    return frozenset(
        (
            each.kind,
            base_name(each.identity) if each.kind == "column" else None,
            _nameless(snapshot.objects[each].items(), base_name(table.identity), base_name(each.identity)),
        )
        for each in parts.get(str(table), ())
    )
