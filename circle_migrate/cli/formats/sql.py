"""SQL: a draft of the DDL that leads from the first side to the second, to be reviewed and edited.

Secrets in the catalogue are not masked, because a masked statement is a different statement.
"""

from circle_migrate.cli.formats.comments import not_compared, replace_controls
from circle_migrate.diff.ddl.render import render_sql
from circle_migrate.diff.ddl.script import generate
from circle_migrate.diff.result import DiffResult
from circle_migrate.safety.hazards.hazard import HAZARDS

_MARK = "-- "


def write(diff: DiffResult) -> str:
    """Return the statements for each database below comments about what was not compared."""
    head = "".join(f"{line}\n" for line in not_compared(diff, _MARK))
    if not diff.comparisons:
        return head
    scripts = [generate(comparison) for comparison in diff.comparisons]
    return head + replace_controls(render_sql(scripts, HAZARDS), _MARK)
