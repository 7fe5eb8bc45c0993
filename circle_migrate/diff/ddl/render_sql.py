"""Render migration scripts as SQL, for review and for psql."""

from __future__ import annotations

from collections.abc import Sequence

from circle_migrate import __version__
from circle_migrate.diff.ddl.script import MigrationScript
from circle_migrate.diff.ddl.statement import HazardTexts, Statement, hazard_comment, unsupported_comment


def render_sql(scripts: Sequence[MigrationScript], hazards: HazardTexts) -> str:
    """Return one script; for several databases, psql connects to each by a variable.

    Destructive statements are not commented out; a comment names their hazard.
    """
    several = len(scripts) > 1
    parts = [_head(scripts, several=several)]
    for script in scripts:
        if several and script.statements:
            parts.append(f"\\connect :{script.database}\n\n")
        parts += [f"-- {unsupported_comment(difference)}\n" for difference in script.incomplete]
        parts += (f"{_statement(statement, hazards)}\n\n" for statement in script.statements)
    return "".join(parts)


def _head(scripts: Sequence[MigrationScript], *, several: bool) -> str:
    lines = [f"-- circle-migrate {__version__}"]
    lines += [
        f"-- {script.database}: {_one_line(script.before)} to {_one_line(script.after)}" for script in scripts
    ]
    lines.append("-- run as the role that owns the version table")
    if several:
        variables = " ".join(f'-v {script.database}="postgresql://…"' for script in scripts)
        lines += [f'-- run: psql -X {variables} -f THIS_FILE "postgresql://…"', "\\set ON_ERROR_STOP on"]
    return "\n".join(lines) + "\n\n"


def _statement(statement: Statement, hazards: HazardTexts) -> str:
    comments = [f"-- {hazard_comment(hazard, hazards)}" for hazard in statement.hazards]
    if not statement.transactional:
        comments.append("-- NOT IN A TRANSACTION with the statements that follow")
    return "\n".join([*comments, f"{statement.sql};"])


def _one_line(text: str) -> str:
    """Return the text without line breaks, which would end the comment."""
    return " ".join(text.split())
