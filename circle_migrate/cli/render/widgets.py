"""Write lines and tables to a console."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from os import getcwd, sep
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import visible, visible_lines

if TYPE_CHECKING:
    from rich.console import Console

Part = tuple[str, str]
"""A part of a line, and its style."""

_GAP = "  "
_MIN_TEXT_WIDTH = 20

_COMMAND = re.compile(
    r"(?:`|(?<=: )|(?<=run )|^)(circle-migrate [^`;\n]+?)(?:`|(?=; |, |\n| \(|$))", re.MULTILINE
)
"""A command in a hint, and what ends it."""

_MARK_STYLES = {"current": "green", "head": "cyan", "branch point": "magenta", "merge": "magenta"}


def write_line(console: Console, text: str, style: str = "", *, wrap: bool = True) -> None:
    """Write plain text without secrets and control characters; without `wrap` it can be copied whole."""
    console.print(visible_lines(text), style=style, markup=False, soft_wrap=not wrap)


def write_environment(name: str | None, console: Console) -> None:
    """Write the environment whose settings hold, if there is one."""
    if name:
        write_line(console, f"environment: {name}", style="bold")


def write_notes(console: Console, notes: Iterable[str]) -> None:
    """Write a line for each note."""
    for note in notes:
        write_line(console, f"note: {note}")


def line(console: Console, indent: int, *parts: Part, margin: str = "") -> None:
    """Write a line without secrets and control characters; on a terminal it wraps below its indentation.

    `margin` stands at the beginning of the first line in place of blanks.
    """
    escaped = [(visible(text), style) for text, style in parts]
    margin = margin or " " * indent
    if not console.is_terminal:
        console.print(margin + "".join(text for text, _ in escaped), markup=False)
        return
    from rich.text import Text

    width = max(console.width - indent, _MIN_TEXT_WIDTH)
    for wrapped in Text.assemble(*escaped).wrap(console, width, overflow="fold"):
        wrapped.rstrip()
        console.print(Text(margin) + wrapped, soft_wrap=True)
        margin = " " * indent


def table(console: Console, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows as `visible`, drawn on a terminal and aligned elsewhere; without rows write nothing."""
    rows = [tuple(map(visible, row)) for row in rows]
    if not rows:
        return
    if console.is_terminal:
        _draw(console, head, rows)
        return
    lines = [tuple(head), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        text = _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print(text.rstrip(), markup=False)


def _draw(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table whose texts wrap; if the terminal is too narrow for a word, write records instead."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(name, overflow="fold") for name in head]
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        # Rich would break long ids before it has wrapped all texts.
        column.no_wrap = all(len(cell) <= _MIN_TEXT_WIDTH or " " not in cell for cell in cells)
    table = Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=_MARK_STYLES.get(cell, "")) for cell in row))
    lines = ("".join(segment.text for segment in segments) for segments in console.render_lines(table))
    drawn = set(" ".join(lines).split())
    if all(drawn.issuperset(cell.split()) for row in rows for cell in row):
        console.print(table)
    else:
        _records(console, head, rows)


def _records(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write every row as a record with a line for each column, as psql does in expanded mode."""
    width = max(map(len, head))
    for row in rows:
        console.print()
        for name, cell in zip(head, row, strict=True):
            if cell:
                margin = f" {name.ljust(width)}{_GAP}"
                line(console, len(margin), (cell, _MARK_STYLES.get(cell, "")), margin=margin)
    console.print()


def detail_label(detail: str) -> str:
    """Return the word for whose message the detail of an error is."""
    if detail.startswith("asyncpg: "):
        return "driver"
    return "server" if "SQLSTATE" in detail else "cause"


def hint_lines(hint: str) -> list[str]:
    """Return a hint as lines, with a line of its own for each command, which can be copied whole."""
    lines = []
    for number, part in enumerate(_COMMAND.split(hint)):
        text = part.strip()
        if number % 2:
            lines.append(f"  {text}")
        elif text := text.lstrip(",;. "):
            lines += text.split("\n")
    return lines


def relative(location: str) -> str:
    """Return the location relative to the current directory if it is in there."""
    try:
        return location.removeprefix(getcwd() + sep)  # noqa: PTH109 - a prefix to remove, not a path to use
    except FileNotFoundError:  # it was deleted
        return location


def revisions(heads: Sequence[str]) -> str:
    """Return the ids, or `base` for none."""
    return ", ".join(heads) or "base"
