"""Write the functions of a revision: Alembic's operations where they exist, else `op.execute`."""

from __future__ import annotations

from dataclasses import dataclass

from circle_migrate.diff.ddl import alembic_ops
from circle_migrate.diff.ddl.python_code import execute, indented
from circle_migrate.diff.ddl.script import MigrationScript, reverse
from circle_migrate.diff.ddl.statement import HazardTexts, hazard_comment, unsupported_comment

_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Bodies:
    """The indented bodies of upgrade() and downgrade(), and the differences that one of them leaves."""

    upgrade: str
    downgrade: str
    incomplete: tuple[str, ...]


def bodies(script: MigrationScript, hazards: HazardTexts) -> Bodies:
    """Return the bodies of a revision that executes the script, and of its downgrade."""
    back, schema = reverse(script.comparison), script.comparison.default_schema
    incomplete = tuple(dict.fromkeys([*script.incomplete, *back.incomplete]))
    return Bodies(body(script, hazards, schema), body(back, hazards, schema), incomplete)


def render(script: MigrationScript, hazards: HazardTexts) -> str:
    """Return both functions of a revision."""
    functions = bodies(script, hazards)
    return (
        f"def upgrade() -> None:\n{functions.upgrade}\n\n\ndef downgrade() -> None:\n{functions.downgrade}\n"
    )


def body(script: MigrationScript, hazards: HazardTexts, default_schema: str | None = None) -> str:
    """Return a function body that executes the script; operations omit the default schema.

    SQL statements name every schema, so that they do not depend on the search_path.
    """
    lines = [f"{_INDENT}# {unsupported_comment(difference)}" for difference in script.incomplete]
    for statement in script.statements:
        lines += [f"{_INDENT}# {hazard_comment(hazard, hazards)}" for hazard in statement.hazards]
        call = alembic_ops.call(script.plan, statement, default_schema) or execute(statement.sql)
        if not statement.transactional:
            lines.append(f"{_INDENT}with op.get_context().autocommit_block():")
        lines.append(indented(call, _INDENT * (1 if statement.transactional else 2)))
    return "\n".join(lines if script.statements else [*lines, f"{_INDENT}pass"])
