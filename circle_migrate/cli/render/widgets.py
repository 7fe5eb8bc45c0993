"""What every result is drawn with: lines, tables, places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import getcwd, sep
from typing import TYPE_CHECKING

from circle_migrate.cli.formats.sanitize import visible
from circle_migrate.core.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

Part = tuple[str, str]
"""A piece of a line, and its style."""

_GAP = "  "
_NARROWEST = 20
"""Columns that are left to a text, however deep it stands."""

_FEW = 4
"""Columns of a table that stays one on a narrow terminal."""
_ENDLESS = 10_000

_MARK_STYLES = {"current": "green", "head": "cyan", "branch point": "magenta", "merge": "magenta"}


def write_line(console: Console, text: str, style: str = "", *, whole: bool = False) -> None:
    """Write a line, without secrets; the text is no markup. A `whole` one is not broken, to be copied."""
    console.print(redact(text), style=style, markup=False, soft_wrap=whole)


def line(console: Console, indent: int, *parts: Part) -> None:
    """Write a line in parts, without secrets and controls; on a terminal, wrapped below its indentation."""
    shown = [(visible(text), style) for text, style in parts]
    margin = " " * indent
    if not console.is_terminal:
        console.print(margin + "".join(text for text, _ in shown), markup=False)
        return
    from rich.text import Text

    room = max(console.width - indent, _NARROWEST)
    for each in Text.assemble(*shown).wrap(console, room, overflow="fold"):
        each.rstrip()
        console.print(Text(margin) + each, soft_wrap=True)


def table(console: Console, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows: drawn on a terminal, aligned anywhere else, nothing where there are none."""
    rows = [tuple(map(redact, row)) for row in rows]
    if not rows:
        return
    if console.is_terminal:
        _drawn(console, head, rows)
        return
    widths = [max(len(row[i]) for row in [tuple(head), *rows]) for i in range(len(head))]
    for row in [tuple(head), *rows]:
        console.out(_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _drawn(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose cells are broken rather than cut; many columns as records where they are too wide."""
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(name, overflow="fold") for name in head]
    table = Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=_MARK_STYLES.get(cell, "")) for cell in row))
    whole_words = Measurement.get(console, console.options.update(max_width=_ENDLESS), table).minimum
    if whole_words > console.width and len(head) > _FEW:
        _records(console, head, rows)
    else:
        console.print(table)


def _records(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row as lines of their own, a column on each, as psql does on a narrow terminal."""
    width = max(map(len, head)) + len(_GAP)
    for row in rows:
        console.print()
        for name, cell in zip(head, row, strict=True):
            if cell:
                line(console, 1, (name.ljust(width), "bold"), (cell, _MARK_STYLES.get(cell, "")))
    console.print()


def relative(location: str) -> str:
    """The place as seen from the current directory."""
    return location.removeprefix(getcwd() + sep)  # noqa: PTH109 - a prefix to cut, not a path to use


def revisions(heads: Sequence[str]) -> str:
    """The ids, or the word for none."""
    return ", ".join(heads) or "base"
