"""How large tables are, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import table, write_line
from circle_migrate.core.byte_size import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.safety.live_database.record import Size
    from circle_migrate.safety.table_statistics import StatsResult


def stats_result(result: StatsResult, console: Console) -> None:
    """Each table, the largest first; or where they were written, and how many."""
    databases = result.statistics.databases
    if result.file is not None:
        counted = ", ".join(
            f"{name} {len(database_stats.sizes)}" for name, database_stats in databases.items()
        )
        write_line(console, f"sizes of tables in {result.file}: {counted}; no data")
        return
    rows = [
        (name, size.relation, _rows(size), format_bytes(size.bytes), format_bytes(size.index_bytes))
        for name, database_stats in databases.items()
        for size in sorted(database_stats.sizes.values(), key=lambda size: (-size.bytes, size.relation))
    ]
    table(console, ("database", "table", "rows", "size", "indexes"), rows)


def _rows(size: Size) -> str:
    return "unknown" if size.rows is None else f"about {size.rows}" if size.rows else "0"
