"""`consistency` as people read it: the checks, then how much was compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.report import checks
from circle_migrate.cli.render.widgets import table
from circle_migrate.commands.consistency.result import Compared, ConsistencyResult

if TYPE_CHECKING:
    from rich.console import Console


def consistency_result(result: ConsistencyResult, console: Console) -> None:
    """Write each check with its findings, and a row for each side that was read."""
    checks(result.checks, console)
    rows = [row for compared in result.relations for row in _rows(compared)]
    table(console, ("relation", "column", "type", "rows", "alone"), rows)


def _rows(compared: Compared) -> list[tuple[str, ...]]:
    return [
        (compared.relation.name, str(keys.column), keys.type, f"{keys.rows:,}", f"{keys.alone:,}")
        for keys in compared.sides.values()
    ]
