"""Render what `adopt` found and wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circle_migrate.cli.render.widgets import line, relative, write_line

if TYPE_CHECKING:
    from rich.console import Console

    from circle_migrate.commands.adopt.result import AdoptResult, Point

_STYLES = {"holds": "green", "set": "cyan", "by hand": "yellow"}
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def adopt_result(result: AdoptResult, console: Console) -> None:
    """Write the points of each database, the change of the file, and the commands to type next."""
    for database in result.databases:
        exists = ", is in pyproject.toml already" if database.exists else ""
        write_line(console, f"{database.name}: {' and '.join(database.files)}{exists}", style="bold")
        _points(database.points, console)
    _points(result.points, console)
    if result.diff:
        write_line(console, "")
    for text in result.diff.splitlines():
        write_line(console, text, style=_DIFF_STYLES.get(text[:1], ""), wrap=False)
    file = relative(result.file)
    if result.written:
        state = f"written: {file}"
    else:
        state = "nothing was written" if result.diff else f"{file} has all of it already"
    write_line(console, f"\n{state}; next:")
    for command in result.commands:
        write_line(console, f"  {command}", wrap=False)


def _points(points: Sequence[Point], console: Console) -> None:
    for point in points:
        place = f"  {point.location}" if point.location else ""
        parts = [(point.subject, _STYLES[point.state]), (f": {point.text}", ""), (place, "dim")]
        line(console, 11, *parts, margin=f"  {point.state:<7}  ")
