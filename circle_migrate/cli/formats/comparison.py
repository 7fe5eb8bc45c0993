"""Comparisons as SQL, as Alembic operations, or as a patch; no text of a server can end its comment.

SQL and operations are drafts to be reviewed and edited. Secrets in the catalog are not masked in them,
because a masked statement is a different statement. A patch is a unified diff with one file per object, whose
text lists the fields of its snapshot. Ignored and equivalent fields have the text of the first side on both.
"""

import difflib
from collections.abc import Iterator

from circle_migrate.cli.formats.sanitize import replace_controls, visible
from circle_migrate.diff.ddl.render import render, render_sql
from circle_migrate.diff.ddl.script import generate
from circle_migrate.diff.describe import side_names
from circle_migrate.diff.result import Comparison, Difference, DiffResult, group_by_owner
from circle_migrate.postgres.catalog.snapshot import Fields, ObjectKey, Op, Ownership, Snapshot
from circle_migrate.safety.hazards.hazard import HAZARDS

_NO_FILE = "/dev/null"


def sql(diff: DiffResult) -> str:
    """Return the statements for each database below comments about what was not compared."""
    head = "".join(f"{line}\n" for line in _omissions(diff, "-- "))
    scripts = [generate(comparison) for comparison in diff.comparisons]
    return head + (replace_controls(render_sql(scripts, HAZARDS), "-- ") if scripts else "")


def alembic(diff: DiffResult) -> str:
    """Return the operations for each database below a comment with its name."""
    parts = ["\n".join(_omissions(diff, "# "))]
    for comparison in diff.comparisons:
        before, after = side_names(comparison)
        text = replace_controls(render(generate(comparison), HAZARDS), "# ")
        head = visible(f"{comparison.database}: from {before} to {after}")
        parts.append(f"# {head}\n" + text.rstrip("\n"))
    return "\n\n\n".join(filter(None, parts)) + "\n"


def patch(diff: DiffResult) -> str:
    """Return all differences by database, below comments about what was not compared."""
    lines = list(_omissions(diff, "# "))
    for comparison in diff.comparisons:
        owners = Ownership(comparison.before, comparison.after)
        for differences in group_by_owner(comparison, owners).values():
            for difference in differences:
                lines += _file(difference, comparison, owners)
    return "".join(visible(line) + "\n" for line in lines)


def _omissions(diff: DiffResult, mark: str) -> Iterator[str]:
    """Yield a comment for each database, and each part of a database, that was not compared."""
    for finding in diff.comparison_errors:
        yield mark + visible(f"not compared: {finding.message}")
    for comparison in diff.comparisons:
        for text in comparison.not_compared:
            yield mark + visible(f"{comparison.database}: not compared: {text}")


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
    if change.op is Op.REMOVED:
        return list(_object_text(change.key, comparison.before, owners)), []
    if change.op is Op.ADDED:
        return [], list(_object_text(change.key, comparison.after, owners))
    fields = comparison.before.objects[change.key]
    before = {**fields, **{name: value for name, (value, _) in change.fields.items()}}
    after = {**fields, **{name: value for name, (_, value) in change.fields.items()}}
    return list(_text(before)), list(_text(after))


def _object_text(key: ObjectKey, snapshot: Snapshot, owners: Ownership) -> Iterator[str]:
    yield from _text(snapshot.objects[key])
    for object_key in owners.owned_objects(key):
        if object_key in snapshot.objects:
            yield str(object_key)
            yield from (f"  {line}" for line in _text(snapshot.objects[object_key]))


def _text(fields: Fields) -> Iterator[str]:
    """Yield a line for each field; a value of several lines begins below its name."""
    for name, value in sorted(fields.items()):
        if value is not None and "\n" in value:
            yield f"{name}: |"
            yield from (f"  {line}" for line in value.split("\n"))
        elif value is not None:
            yield f"{name}: {value}"
