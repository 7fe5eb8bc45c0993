"""Alembic: the operations that lead from the first side to the second, to be copied into a revision."""

from circle_migrate.cli.formats.comments import comment, not_compared, replace_controls
from circle_migrate.diff.ddl.render import render
from circle_migrate.diff.ddl.script import generate
from circle_migrate.diff.describe import side_names
from circle_migrate.diff.result import Comparison, DiffResult
from circle_migrate.safety.hazards.hazard import HAZARDS

_MARK = "# "


def write(diff: DiffResult) -> str:
    """Return the operations for each database below a comment with its name."""
    parts = ["\n".join(not_compared(diff, _MARK)), *map(_operations, diff.comparisons)]
    return "\n\n\n".join(filter(None, parts)) + "\n"


def _operations(comparison: Comparison) -> str:
    before, after = side_names(comparison)
    text = replace_controls(render(generate(comparison), HAZARDS), _MARK)
    return comment(f"{comparison.database}: from {before} to {after}", _MARK) + "\n" + text.rstrip("\n")
