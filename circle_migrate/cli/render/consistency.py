"""Render `consistency`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.report import report
from circle_migrate.cli.render.widgets import table

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.commands.consistency.result import ConsistencyResult


def consistency_result(result: ConsistencyResult, console: Console) -> None:
    """Write every check with its findings, and a row for each side of a relation."""
    report(result, console)
    rows = [
        (compared.relation.name, str(keys.column), keys.type, f"{keys.rows:,}", f"{keys.alone:,}")
        for compared in result.relations
        for keys in compared.sides.values()
    ]
    table(console, ("relation", "column", "type", "rows", "orphans"), rows)
