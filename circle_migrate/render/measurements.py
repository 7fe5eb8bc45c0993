"""How large tables are, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.render.drawing import say, table

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.core.live import Size
    from circle_migrate.core.measured import Measured

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP = 1024


def measured(result: Measured, console: Console) -> None:
    """Each table, the largest first; or where they were written, and how many."""
    databases = result.statistics.databases
    if result.file is not None:
        counted = ", ".join(f"{name} {len(each.sizes)}" for name, each in databases.items())
        say(console, f"sizes of tables in {result.file}: {counted}; no data")
        return
    rows = [
        (name, size.relation, _rows(size), amount(size.bytes), amount(size.index_bytes))
        for name, each in databases.items()
        for size in sorted(each.sizes.values(), key=lambda size: (-size.bytes, size.relation))
    ]
    table(console, ("database", "table", "rows", "size", "indexes"), rows)


def amount(size: int) -> str:
    """A number of bytes, with the largest unit of which there are some."""
    value, unit = float(size), 0
    while value >= _STEP and unit + 1 < len(_UNITS):
        value, unit = value / _STEP, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value >= 10 or unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _rows(size: Size) -> str:
    return "unknown" if size.rows is None else f"about {size.rows}" if size.rows else "0"
