"""Patch: what differs as a unified diff of both sides' texts, one file per object, for reviews.

The texts say what the snapshots say of an object, field by field; they are no SQL. What is ignored or
equivalent has the text of the first side on both, so that only differences are left.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from circle_migrate.cli.formats.comments import not_compared
from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.diff.describe import sides
from circle_migrate.diff.result import Comparison, Difference, DiffResult, grouped
from circle_migrate.postgres.catalog.snapshot import Fields, Op, Ownership, Snapshot

_NO_FILE = "/dev/null"


def write(diff: DiffResult) -> str:
    """All differences, database by database; lines that begin with # say what was not compared."""
    lines = list(not_compared(diff, "# "))
    for comparison in diff.comparisons:
        ownership = Ownership(comparison.before, comparison.after)
        for group in grouped(comparison, ownership):
            for difference in group.differences:
                lines += _file(difference, comparison, ownership)
    return "".join(visible(line) + "\n" for line in lines)


def _file(difference: Difference, comparison: Comparison, ownership: Ownership) -> Iterator[str]:
    """Both texts of an object, under its name on either side."""
    change = difference.change
    name = f"{comparison.database}/{change.key}"
    before, after = (f"{side}/{name}" for side in sides(comparison))
    one, other = _both(difference, comparison, ownership)
    # A tab ends a name that may have spaces in it.
    yield f"--- {_NO_FILE if change.op is Op.ADDED else before}\t"
    yield f"+++ {_NO_FILE if change.op is Op.REMOVED else after}\t"
    yield from list(difflib.unified_diff(one, other, lineterm=""))[2:]


def _both(
    difference: Difference, comparison: Comparison, ownership: Ownership
) -> tuple[list[str], list[str]]:
    """The object as either side has it; with all that belongs to it, where the other lacks it."""
    change = difference.change
    match change.op:
        case Op.REMOVED:
            return list(_whole(difference, comparison.before, ownership)), []
        case Op.ADDED:
            return [], list(_whole(difference, comparison.after, ownership))
        case Op.CHANGED:
            fields = comparison.before.objects[change.key]
            one = {**fields, **{name: before for name, (before, _) in change.fields.items()}}
            other = {**fields, **{name: after for name, (_, after) in change.fields.items()}}
            return list(_text(one)), list(_text(other))


def _whole(difference: Difference, snapshot: Snapshot, ownership: Ownership) -> Iterator[str]:
    key = difference.change.key
    yield from _text(snapshot.objects[key])
    for object_key in ownership.of(key):
        if object_key in snapshot.objects:
            yield str(object_key)
            yield from (f"  {line}" for line in _text(snapshot.objects[object_key]))


def _text(fields: Fields) -> Iterator[str]:
    """Lines for all that is said of an object; longer texts begin on a line of their own."""
    for name, value in sorted(fields.items()):
        if value is None:
            continue
        if "\n" in value:
            yield f"{name}: |"
            yield from (f"  {line}" for line in value.split("\n"))
        else:
            yield f"{name}: {value}"
