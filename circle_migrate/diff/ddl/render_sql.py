"""Sketches as a script: for a person to read first, then for psql or, with one database, any driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circle_migrate import __version__
from circle_migrate.diff.ddl.script import MigrationScript
from circle_migrate.diff.ddl.statement import HazardTexts, Statement, hazard_comment, unsupported_comment


def render_sql(sketches: Sequence[MigrationScript], hazards: HazardTexts) -> str:
    """The script for one database or several; of several, psql connects to each by a variable.

    Statements that destroy something are as live as the others, under a line that says so.
    """
    several = len(sketches) > 1
    parts = [_head(sketches, several=several)]
    for sketch in sketches:
        if several and sketch.statements:
            parts.append(f"\\connect :{sketch.database}\n\n")
        parts += [f"-- {unsupported_comment(what)}\n" for what in sketch.incomplete]
        parts += (f"{_statement(statement, hazards)}\n\n" for statement in sketch.statements)
    return "".join(parts)


def _head(sketches: Sequence[MigrationScript], *, several: bool) -> str:
    lines = [f"-- circle-migrate {__version__}"]
    lines += [
        f"-- {migration_script.database}: {_line(migration_script.before)} to {_line(migration_script.after)}"
        for migration_script in sketches
    ]
    lines.append("-- run as the role that owns the version table")
    if several:
        variables = " ".join(f'-v {script.database}="postgresql://…"' for script in sketches)
        lines += [f'-- run: psql -X {variables} -f THIS_FILE "postgresql://…"', "\\set ON_ERROR_STOP on"]
    return "\n".join(lines) + "\n\n"


def _statement(statement: Statement, hazards: HazardTexts) -> str:
    return "\n".join([*_remarks(statement, hazards), f"{statement.sql};"])


def _remarks(statement: Statement, hazards: HazardTexts) -> Iterator[str]:
    yield from (f"-- {hazard_comment(hazard, hazards)}" for hazard in statement.hazards)
    if not statement.transactional:
        yield "-- NOT IN A TRANSACTION with what follows"


def _line(text: str) -> str:
    """A text that cannot leave its comment."""
    return " ".join(text.split())
