"""What downgrades have kept, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import table, write_line
from circle_migrate.migrate.kept_data.entry import KeptEntries, KeptEntry, KeptState

if TYPE_CHECKING:
    from rich.console import Console


def kept_entries(result: KeptEntries, console: Console) -> None:
    """Write a row per entry."""
    if not result.entries:
        write_line(console, "nothing is kept")
        return
    table(
        console,
        ("id", "run", "revision", "kind", "object", "columns", "rows", "kept at", "state"),
        [
            (
                entry.id,
                entry.run[:8],
                entry.revision,
                str(entry.what),
                entry.name,
                ", ".join(entry.columns),
                f"{entry.rows:,}",
                f"{entry.created_at:%Y-%m-%d %H:%M}",
                _state(entry),
            )
            for entry in result.entries
        ],
    )


def _state(entry: KeptEntry) -> str:
    if entry.state is KeptState.RESTORED and entry.missing:
        return f"restored, {entry.missing:,} rows have no row to go to"
    return str(entry.state)
