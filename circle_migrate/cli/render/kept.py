"""What downgrades have kept, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import say, table
from circle_migrate.migrate.kept_data.entry import Kept, KeptEntries, State

if TYPE_CHECKING:
    from rich.console import Console


def keptentries(result: KeptEntries, console: Console) -> None:
    """Write a row per entry."""
    if not result.entries:
        say(console, "nothing is kept")
        return
    table(
        console,
        ("id", "run", "revision", "kind", "object", "columns", "rows", "kept at", "state"),
        [
            (
                each.id,
                each.run[:8],
                each.revision,
                str(each.what),
                each.name,
                ", ".join(each.columns),
                f"{each.rows:,}",
                f"{each.created_at:%Y-%m-%d %H:%M}",
                _state(each),
            )
            for each in result.entries
        ],
    )


def _state(entry: Kept) -> str:
    if entry.state is State.RESTORED and entry.missing:
        return f"restored, {entry.missing:,} rows have no row to go to"
    return str(entry.state)
