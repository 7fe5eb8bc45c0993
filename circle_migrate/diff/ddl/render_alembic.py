"""A sketch as the two functions of a revision: Alembic's operations where it has them, else the SQL.

Nothing of Alembic is imported: this writes code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circle_migrate.diff.ddl import alembic_ops
from circle_migrate.diff.ddl.python_code import execute, indented
from circle_migrate.diff.ddl.script import MigrationScript, reverse
from circle_migrate.diff.ddl.statement import HazardTexts, Statement, hazard_comment, unsupported_comment

_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Bodies:
    """What stands in upgrade() and downgrade(), indented; `incomplete` is lacking one way or the other."""

    upgrade: str
    downgrade: str
    incomplete: tuple[str, ...]


def bodies(sketch: MigrationScript, hazards: HazardTexts) -> Bodies:
    """The bodies of a revision that does what the sketch does, and of its way back."""
    back, schema = reverse(sketch.comparison), sketch.comparison.default_schema
    incomplete = tuple(dict.fromkeys([*sketch.incomplete, *back.incomplete]))
    return Bodies(body(sketch, hazards, schema), body(back, hazards, schema), incomplete)


def render(sketch: MigrationScript, hazards: HazardTexts) -> str:
    """Both functions of a revision as text."""
    made = bodies(sketch, hazards)
    return f"def upgrade() -> None:\n{made.upgrade}\n\n\ndef downgrade() -> None:\n{made.downgrade}\n"


def body(sketch: MigrationScript, hazards: HazardTexts, default_schema: str | None = None) -> str:
    """What the sketch does, as the body of a function; calls do not name the default schema.

    Statements of SQL name every schema, so that no search_path leads them elsewhere.
    """
    lines = [f"{_INDENT}# {unsupported_comment(what)}" for what in sketch.incomplete]
    for statement in sketch.statements:
        lines += _lines(sketch, statement, hazards, default_schema)
    if not sketch.statements:
        lines.append(f"{_INDENT}pass")
    return "\n".join(lines)


def _lines(
    sketch: MigrationScript, statement: Statement, hazards: HazardTexts, default: str | None
) -> Iterator[str]:
    yield from (f"{_INDENT}# {hazard_comment(hazard, hazards)}" for hazard in statement.hazards)
    call = alembic_ops.call(sketch.plan, statement, default) or execute(statement.sql)
    if statement.transactional:
        yield indented(call, _INDENT)
    else:
        yield f"{_INDENT}with op.get_context().autocommit_block():"
        yield indented(call, _INDENT * 2)
