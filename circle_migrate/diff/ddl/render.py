"""Write scripts as functions of a revision, with Alembic's operations where they exist, and as SQL."""

from collections.abc import Iterator, Sequence

from circle_migrate import __version__
from circle_migrate.diff.ddl.alembic_ops import indented, operation
from circle_migrate.diff.ddl.script import MigrationScript, generate
from circle_migrate.diff.ddl.statement import HazardTexts, hazard_comment, unsupported_comment

_INDENT = "    "


def render(script: MigrationScript, hazards: HazardTexts) -> str:
    """Return both functions of a revision, of which upgrade() executes the script."""
    both = script, generate(script.comparison, undo=True)
    upgrade, downgrade = (body(it, hazards, script.comparison.default_schema) for it in both)
    return f"def upgrade() -> None:\n{upgrade}\n\n\ndef downgrade() -> None:\n{downgrade}\n"


def body(script: MigrationScript, hazards: HazardTexts, default_schema: str | None = None) -> str:
    """Return a function body that executes the script; operations omit the default schema.

    SQL statements name every schema, so that they do not depend on the search_path.
    """
    lines = [f"{_INDENT}# {text}" for text in _limits(script)]
    for statement in script.statements:
        lines += [f"{_INDENT}# {hazard_comment(hazard, hazards)}" for hazard in statement.hazards]
        call = operation(script.plan, statement, default_schema)
        if not statement.transactional:
            lines.append(f"{_INDENT}with op.get_context().autocommit_block():")
        lines.append(indented(call, _INDENT * (1 if statement.transactional else 2)))
    return "\n".join(lines if script.statements else [*lines, f"{_INDENT}pass"])


def render_sql(scripts: Sequence[MigrationScript], hazards: HazardTexts) -> str:
    """Return one script; for several databases, psql connects to each by a variable.

    Destructive statements are not commented out; a comment names their hazard.
    """
    several = len(scripts) > 1
    parts = [_head(scripts, several=several)]
    for script in scripts:
        if several and script.statements:
            parts.append(f"\\connect :{script.comparison.database}\n\n")
        parts += [f"-- {text}\n" for text in _limits(script)]
        for statement in script.statements:
            parts += [f"-- {hazard_comment(hazard, hazards)}\n" for hazard in statement.hazards]
            if not statement.transactional:
                parts.append("-- NOT IN A TRANSACTION with the statements that follow\n")
            parts.append(f"{statement.sql};\n\n")
    return "".join(parts)


def _limits(script: MigrationScript) -> Iterator[str]:
    """Yield the comments about what the script does not do, and that it was not tried."""
    yield from map(unsupported_comment, script.incomplete)
    if script.untried:
        yield f"NOT TRIED: {' '.join(script.untried.split())}"


def _head(scripts: Sequence[MigrationScript], *, several: bool) -> str:
    lines = [f"-- circle-migrate {__version__}"]
    comparisons = [script.comparison for script in scripts]
    for comparison in comparisons:
        # A line break would end the comment.
        sides = (" ".join(side.origin.split()) for side in (comparison.before, comparison.after))
        lines.append(f"-- {comparison.database}: {' to '.join(sides)}")
    lines.append("-- run as the role that owns the version table")
    if several:
        variables = " ".join(f'-v {comparison.database}="postgresql://…"' for comparison in comparisons)
        lines += [f'-- run: psql -X {variables} -f THIS_FILE "postgresql://…"', "\\set ON_ERROR_STOP on"]
    return "\n".join(lines) + "\n\n"
