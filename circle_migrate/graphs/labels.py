"""Where the words beside lines go: on their line, clear of boxes and of each other where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from circle_migrate.core.drawing import Drawing, visible
from circle_migrate.graphs.boxes import cells
from circle_migrate.graphs.layout import Layout, Point, Rectangle

_CHARACTER = 6.1
"""The width of a character of 10 pixels, rounded up."""

_HEIGHT = 12.0
_PARTS = (0.5, 0.35, 0.65, 0.2, 0.8)
"""Of the way along a curve, in the order of preference."""


def labels(drawing: Drawing, layout: Layout) -> tuple[Rectangle | None, ...]:
    """The place of each edge's label, in their order; None where an edge has none."""
    boxes = list(layout.boxes.values())
    taken: list[Rectangle] = []
    found: list[Rectangle | None] = []
    for edge, curve in zip(drawing.edges, layout.curves, strict=True):
        if not edge.label:
            found.append(None)
            continue
        width = _CHARACTER * cells(visible(edge.label)) + 4
        places = [Rectangle(p.x - width / 2, p.y - _HEIGHT / 2, width, _HEIGHT) for p in _along(curve)]
        free = (p for p in places if not any(p.overlaps(other) for other in taken + boxes))
        place = next(free, places[0])
        taken.append(place)
        found.append(place)
    return tuple(found)


def _along(curve: Sequence[Point]) -> Iterator[Point]:
    """Points of the line, those in its middle first."""
    pieces = list(pairwise(curve[::3]))
    order = sorted(range(len(pieces)), key=lambda number: abs(number - (len(pieces) - 1) / 2))
    for part in _PARTS:
        for number in order:
            a, b, c, d = curve[3 * number : 3 * number + 4]
            yield Point(*(_bezier(part, *each) for each in zip(a, b, c, d, strict=True)))


def _bezier(part: float, a: float, b: float, c: float, d: float) -> float:
    rest = 1 - part
    return rest**3 * a + 3 * rest**2 * part * b + 3 * rest * part**2 * c + part**3 * d
