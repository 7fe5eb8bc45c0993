"""SQL: a sketch of the DDL that leads from the first side to the second, for a person to read and to change.

Texts are exact, secrets too where a database has any in its catalogue: what is masked is another statement.
"""

from __future__ import annotations

from circle_migrate.cli.formats.comments import controls_replaced, not_compared
from circle_migrate.diff.ddl.render_sql import render_sql
from circle_migrate.diff.ddl.script import generate
from circle_migrate.diff.result import DiffResult
from circle_migrate.safety.hazards.loader import HAZARDS

_MARK = "-- "


def write(diff: DiffResult) -> str:
    """The statements for each database, after comments that say what they leave out."""
    head = "".join(f"{line}\n" for line in not_compared(diff, _MARK))
    if not diff.comparisons:
        return head
    return head + controls_replaced(
        render_sql([generate(comparison) for comparison in diff.comparisons], HAZARDS), _MARK
    )
