"""Patch: the differences as a unified diff for reviews, one file per object.

The text of an object lists the fields of its snapshot; it is no SQL. Ignored and equivalent fields have the
text of the first side on both.
"""

import difflib
from collections.abc import Iterator

from circle_migrate.cli.formats.comments import not_compared
from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.diff.describe import side_names
from circle_migrate.diff.result import Comparison, Difference, DiffResult, group_by_owner
from circle_migrate.postgres.catalog.snapshot import Fields, Op, Ownership, Snapshot

_NO_FILE = "/dev/null"


def write(diff: DiffResult) -> str:
    """Return all differences by database, below comments about what was not compared."""
    lines = list(not_compared(diff, "# "))
    for comparison in diff.comparisons:
        owners = Ownership(comparison.before, comparison.after)
        for differences in group_by_owner(comparison, owners).values():
            for difference in differences:
                lines += _file(difference, comparison, owners)
    return "".join(visible(line) + "\n" for line in lines)


def _file(difference: Difference, comparison: Comparison, owners: Ownership) -> Iterator[str]:
    """Yield the unified diff of one object."""
    change = difference.change
    name = f"{comparison.database}/{change.key}"
    before, after = (f"{side}/{name}" for side in side_names(comparison))
    before_text, after_text = _texts(difference, comparison, owners)
    # A tab ends a file name, which can contain spaces.
    yield f"--- {_NO_FILE if change.op is Op.ADDED else before}\t"
    yield f"+++ {_NO_FILE if change.op is Op.REMOVED else after}\t"
    yield from list(difflib.unified_diff(before_text, after_text, lineterm=""))[2:]


def _texts(difference: Difference, comparison: Comparison, owners: Ownership) -> tuple[list[str], list[str]]:
    """Return the object's text on both sides; if only one side has it, with all objects that belong to it."""
    change = difference.change
    match change.op:
        case Op.REMOVED:
            return list(_with_owned(difference, comparison.before, owners)), []
        case Op.ADDED:
            return [], list(_with_owned(difference, comparison.after, owners))
        case Op.CHANGED:
            fields = comparison.before.objects[change.key]
            before = {**fields, **{name: value for name, (value, _) in change.fields.items()}}
            after = {**fields, **{name: value for name, (_, value) in change.fields.items()}}
            return list(_text(before)), list(_text(after))


def _with_owned(difference: Difference, snapshot: Snapshot, owners: Ownership) -> Iterator[str]:
    key = difference.change.key
    yield from _text(snapshot.objects[key])
    for object_key in owners.owned_objects(key):
        if object_key in snapshot.objects:
            yield str(object_key)
            yield from (f"  {line}" for line in _text(snapshot.objects[object_key]))


def _text(fields: Fields) -> Iterator[str]:
    """Yield a line for each field; a value of several lines begins below its name."""
    for name, value in sorted(fields.items()):
        if value is None:
            continue
        if "\n" in value:
            yield f"{name}: |"
            yield from (f"  {line}" for line in value.split("\n"))
        else:
            yield f"{name}: {value}"
