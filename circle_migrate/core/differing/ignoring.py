"""Leave ignored differences out of a comparison."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from circle_migrate.core.catalog import Change, Op
from circle_migrate.core.ignore_rule import IgnoreRule


def without_ignored(
    changes: Iterable[Change], database: str, rules: Iterable[IgnoreRule]
) -> tuple[list[Change], dict[str, int]]:
    """The changes no rule hides, and how many each rule hid, in whole or a field of them."""
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
            less = _without(remaining, rule.field)
            if less is not remaining:
                counts[rule.text] = counts.get(rule.text, 0) + 1
            remaining = less
        if remaining is not None:
            kept.append(remaining)
    return kept, counts


def _without(change: Change, field: str | None) -> Change | None:
    """What remains of a change; None where nothing does. Of an object one side lacks no field is hidden."""
    if field is None:
        return None
    return without_fields(change, {field}) if change.op is Op.CHANGED else change


def without_fields(change: Change, names: Collection[str]) -> Change | None:
    """A changed object without these fields, None where no other differs; itself where it has none."""
    if not any(name in change.fields for name in names):
        return change
    fields = {name: sides for name, sides in change.fields.items() if name not in names}
    return replace(change, fields=fields) if fields else None
