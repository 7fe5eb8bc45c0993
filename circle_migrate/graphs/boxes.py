"""How large the boxes of a drawing are, and what stands where in them. Lengths are in pixels of an SVG.

No fonts are at hand to measure with, so that texts are set in a monospaced one, whose characters are 0.6 em
wide in every font of the stack, and twice that where Unicode calls them wide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circle_migrate.core.drawing import PRIMARY_KEY, Drawing, Node, Row, Shape, visible

CHARACTER = 7.25
"""The width of a character of 12 pixels, rounded up."""

LINE = 18.0
PADDING = 10.0

_MOST = 44
"""Characters of a line, after which it is cut; the whole text is the box's tooltip then."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text in a box, from the box's upper left corner to the beginning of its baseline."""

    x: float
    y: float
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A node's box: its size, what is written in it, and below which height its rows begin."""

    width: float
    height: float
    texts: tuple[Text, ...]
    header: float = 0.0


def boxes(drawing: Drawing) -> Mapping[str, Box]:
    """The boxes of all nodes, by their ids."""
    return {node.id: _box(node) for node in drawing.nodes}


def cells(text: str) -> int:
    """How many characters wide a text is in a monospaced font."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def cut(text: str) -> str:
    """The text as it can be drawn, with an ellipsis where it is too long for a line."""
    text = visible(text)
    if cells(text) <= _MOST:
        return text
    while cells(text) >= _MOST:
        text = text[:-1]
    return text + "…"


def _box(node: Node) -> Box:
    title = [(cut(node.title), "title"), *((cut(line), "") for line in node.lines)]
    if node.marks:
        title.append((" · ".join(node.marks), "marks"))
    texts = [Text(PADDING, PADDING + LINE * (at + 0.7), *each) for at, each in enumerate(title)]
    header = 2 * PADDING + LINE * len(title)
    columns = _columns(node.rows)
    starts = [PADDING + CHARACTER * sum(width + 2 for width in columns[:at]) for at in range(len(columns))]
    for number, row in enumerate(map(_cells, node.rows)):
        y = header + PADDING / 2 + LINE * (number + 0.7)
        styles = ("key" if node.rows[number].keys else "", "type", "keys", "type")
        texts += [Text(x, y, text, style) for x, text, style in zip(starts, row, styles, strict=True) if text]
    widest = max(text.x + CHARACTER * cells(text.text) for text in texts)
    rows = PADDING + LINE * len(node.rows) if node.rows else 0
    separator = header if node.shape in (Shape.TABLE, Shape.ENUM) and node.rows else 0.0
    return Box(widest + PADDING, header + rows, tuple(texts), separator)


def _cells(row: Row) -> tuple[str, str, str, str]:
    not_null = "NOT NULL" if row.not_null and PRIMARY_KEY not in row.keys else ""
    return cut(row.name), cut(row.type), " ".join(row.keys), not_null


def _columns(rows: Sequence[Row]) -> list[int]:
    if not rows:
        return [0, 0, 0, 0]
    return [max(map(cells, column)) for column in zip(*map(_cells, rows), strict=True)]
