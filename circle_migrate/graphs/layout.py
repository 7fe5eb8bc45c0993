"""Where boxes and lines go, by layers from top to bottom: what is needed stands above what needs it.

The method is Sugiyama's: layers by longest path, barycentres against crossings, places within a layer by
least squares. Groups stand side by side and share the layers, so that lines between them lead down too.
Lines are cubic Bézier curves: a first point, then three for each curve.

Graphviz is not asked even where it is installed: the same drawing is the same file everywhere. Who prefers
its layout has DOT. Of layout libraries in pure Python there is grandalf, whose licence is the GPL.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from circle_migrate.core.drawing import Drawing, Edge
from circle_migrate.core.links import topological
from circle_migrate.graphs.boxes import Box

GAP = 36.0
"""Between two boxes of a layer."""

_LAYER_GAP = 64.0
_GROUP_GAP = 120.0
GROUP_PADDING = 28.0
_SWEEPS = 6
_MOST_BENDS = 20_000
"""Above that many layers crossed by lines in total, lines run straight from box to box."""


class Point(NamedTuple):
    """A place, from the upper left corner."""

    x: float
    y: float


class Rectangle(NamedTuple):
    """A box in its place."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> Point:
        """Its middle."""
        return Point(self.x + self.width / 2, self.y + self.height / 2)

    def overlaps(self, other: Rectangle) -> bool:
        """Whether the two have any place in common."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes by the ids of their nodes, groups by their names, a curve for each edge in their order."""

    boxes: Mapping[str, Rectangle]
    curves: tuple[tuple[Point, ...], ...]
    groups: Mapping[str, Rectangle]


def layered(drawing: Drawing, sizes: Mapping[str, Box]) -> Layout:
    """The layout of a drawing whose boxes have these sizes."""
    layers = _layers(drawing)
    heights: dict[int, float] = defaultdict(float)
    for name, layer in layers.items():
        heights[layer] = max(heights[layer], sizes[name].height)
    tops, top = {}, 0.0
    for layer in range(max(heights, default=-1) + 1):
        tops[layer] = top
        top += heights[layer] + _LAYER_GAP
    groups = {node.id: node.group for node in drawing.nodes}
    placed: dict[str, Rectangle] = {}
    bends: dict[Edge, list[Point]] = {}
    left = 0.0
    for group in drawing.groups:
        names = [node.id for node in drawing.within(group)]
        edges = [e for e in drawing.edges if groups[e.source] == groups[e.target] == group]
        columns = _Columns(names, edges, layers, sizes)
        shift = left - columns.left
        for name in names:
            size = sizes[name]
            placed[name] = Rectangle(columns.x[name] + shift, tops[layers[name]], size.width, size.height)
        for edge, chain in columns.chains.items():
            parts = (0, 1) if layers[edge.source] < layers[edge.target] else (1, 0)
            bends[edge] = [
                Point(
                    columns.x[each] + shift, tops[columns.layer[each]] + part * heights[columns.layer[each]]
                )
                for each in chain
                for part in parts
            ]
        left += columns.right - columns.left + _GROUP_GAP
    frames = {
        group: surrounding([placed[node.id] for node in drawing.within(group)]) for group in drawing.groups
    }
    return Layout(placed, _curves(drawing, placed, bends), frames)


def surrounding(boxes: Iterable[Rectangle]) -> Rectangle:
    """The frame around boxes, with room for its name above."""
    taken = list(boxes) or [Rectangle(0, 0, 0, 0)]
    left, top = min(b.x for b in taken) - GROUP_PADDING, min(b.y for b in taken) - GROUP_PADDING * 1.5
    right, bottom = max(b.x + b.width for b in taken), max(b.y + b.height for b in taken)
    return Rectangle(left, top, right + GROUP_PADDING - left, bottom + GROUP_PADDING - top)


def _layers(drawing: Drawing) -> dict[str, int]:
    """The layer of each node: below everything it needs. Unconnected nodes of a group form a square."""
    above: dict[str, set[str]] = {node.id: set() for node in drawing.nodes}
    for edge in _acyclic(drawing):
        above[edge[1]].add(edge[0])
    position = {node.id: number for number, node in enumerate(drawing.nodes)}
    layers: dict[str, int] = {}
    for name in topological(above, above, position.__getitem__):
        layers[name] = max((layers[each] + 1 for each in above[name]), default=0)
    connected = {
        name for edge in drawing.edges if edge.source != edge.target for name in (edge.source, edge.target)
    }
    for group in drawing.groups:
        alone = [node.id for node in drawing.within(group) if node.id not in connected]
        columns = math.ceil(math.sqrt(len(alone)))
        layers.update({name: number // columns for number, name in enumerate(alone)})
    return layers


def _acyclic(drawing: Drawing) -> list[tuple[str, str]]:
    """The edges with those turned round that close a circle; tables may refer to each other."""
    below: dict[str, list[str]] = {node.id: [] for node in drawing.nodes}
    for edge in drawing.edges:
        if edge.source != edge.target:
            below[edge.source].append(edge.target)
    order: dict[str, int] = {}
    seen: set[str] = set()
    for start, first in below.items():
        stack = [(start, iter(first))] if start not in seen else []
        seen.add(start)
        while stack:
            name, targets = stack[-1]
            following = next((each for each in targets if each not in seen), None)
            if following is None:
                order[name] = -len(order)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(below[following])))
    return [
        (name, each) if order[name] < order[each] else (each, name)
        for name, targets in below.items()
        for each in targets
    ]


class _Columns:
    """The order and the places across of one group's boxes, and of the bends of lines that pass layers.

    `x` has the left edge of each box or bend, `chains` the bends of each edge from its source to its target.
    """

    def __init__(
        self, names: Sequence[str], edges: Sequence[Edge], layers: Mapping[str, int], sizes: Mapping[str, Box]
    ) -> None:
        self.layer = {name: layers[name] for name in names}
        self._widths = {name: sizes[name].width for name in names}
        self._links: dict[str, list[str]] = defaultdict(list)
        self.chains = self._with_bends(edges)
        rows: dict[int, list[str]] = defaultdict(list)
        for name, layer in self.layer.items():
            rows[layer].append(name)
        self._rows = [rows[layer] for layer in sorted(rows)]
        self._order()
        self.x = self._place()
        self.left = min(self.x.values(), default=0.0)
        self.right = max((x + self._widths[name] for name, x in self.x.items()), default=0.0)

    def _with_bends(self, edges: Sequence[Edge]) -> dict[Edge, list[str]]:
        spans = {edge: abs(self.layer[edge.target] - self.layer[edge.source]) for edge in edges}
        bending = sum(spans.values()) < _MOST_BENDS
        chains: dict[Edge, list[str]] = {}
        for number, (edge, span) in enumerate(spans.items()):
            step = 1 if self.layer[edge.target] > self.layer[edge.source] else -1
            chain = [f"{number}\n{each}" for each in range(1, span)] if bending else []
            for each, name in enumerate(chain, 1):
                self.layer[name] = self.layer[edge.source] + each * step
                self._widths[name] = 0.0
            way = [edge.source, *chain, edge.target] if span else []
            for one, other in pairwise(way):
                self._links[one].append(other)
                self._links[other].append(one)
            chains[edge] = chain
        return chains

    def _order(self) -> None:
        """Sort each layer by where its neighbours in the one before stand, downwards and upwards in turn."""
        for sweep in range(_SWEEPS):
            rows = self._rows if sweep % 2 == 0 else self._rows[::-1]
            for fixed, row in pairwise(rows):
                place = {name: number for number, name in enumerate(fixed)}
                own = {name: number for number, name in enumerate(row)}
                row.sort(
                    key=lambda name: _mean([place[e] for e in self._links[name] if e in place], own[name])
                )

    def _place(self) -> dict[str, float]:
        x: dict[str, float] = {}
        for row in self._rows:
            left = -(sum(self._widths[name] + GAP for name in row) - GAP) / 2
            for name in row:
                x[name] = left
                left += self._widths[name] + GAP
        for sweep in range(_SWEEPS):
            for row in self._rows if sweep % 2 == 0 else self._rows[::-1]:
                wanted = [self._wanted(name, x) for name in row]
                x.update(zip(row, apart(wanted, [self._widths[name] + GAP for name in row]), strict=True))
        return x

    def _wanted(self, name: str, x: Mapping[str, float]) -> float:
        centers = [x[each] + self._widths[each] / 2 for each in self._links[name]]
        return _mean(centers, x[name] + self._widths[name] / 2) - self._widths[name] / 2


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def apart(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The places nearest to those wanted, by least squares, that keep the order and these distances.

    Pooling adjacent violators: what would overlap is moved as one block to the mean of what it wants.
    """
    offsets = [0.0]
    for width in widths[:-1]:
        offsets.append(offsets[-1] + width)
    blocks: list[tuple[float, int]] = []
    for value, offset in zip(wanted, offsets, strict=True):
        total, count = value - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            more, others = blocks.pop()
            total, count = total + more, count + others
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]


def _curves(
    drawing: Drawing, boxes: Mapping[str, Rectangle], bends: Mapping[Edge, list[Point]]
) -> tuple[tuple[Point, ...], ...]:
    """The lines; those that leave or reach a box on one side share that side evenly, by where they lead."""
    ports: dict[tuple[str, bool], list[tuple[float, int, bool]]] = defaultdict(list)
    for number, edge in enumerate(drawing.edges):
        if edge in bends and edge.source != edge.target:
            way = [boxes[edge.source].center, *bends[edge], boxes[edge.target].center]
            down = way[-1].y > way[0].y
            ports[edge.source, down].append((way[1].x, number, True))
            ports[edge.target, not down].append((way[-2].x, number, False))
    ends: dict[tuple[int, bool], Point] = {}
    for (name, bottom), lines in ports.items():
        box = boxes[name]
        for place, (_, number, leaving) in enumerate(sorted(lines), 1):
            x = box.x + box.width * place / (len(lines) + 1)
            ends[number, leaving] = Point(x, box.y + box.height * bottom)
    return tuple(
        _between(boxes[edge.source], boxes[edge.target])
        if (number, True) not in ends
        else _smooth([ends[number, True], *bends[edge], ends[number, False]])
        for number, edge in enumerate(drawing.edges)
    )


def _smooth(points: Sequence[Point]) -> tuple[Point, ...]:
    """A curve through the points that is vertical in each of them."""
    curve = [points[0]]
    for one, other in pairwise(points):
        half = (other.y - one.y) / 2
        curve += [Point(one.x, one.y + half), Point(other.x, other.y - half), other]
    return tuple(curve)


def _between(source: Rectangle, target: Rectangle) -> tuple[Point, ...]:
    """A curve from side to side: to a box of another group, or back to the same box."""
    if source == target:
        start, end = (Point(source.x + source.width, source.center.y + y) for y in (-10, 10))
        return start, Point(start.x + GAP * 0.9, start.y), Point(end.x + GAP * 0.9, end.y), end
    right = target.center.x > source.center.x
    start = Point(source.x + source.width * right, source.center.y)
    end = Point(target.x + target.width * (not right), target.center.y)
    half = (end.x - start.x) / 2
    return start, Point(start.x + half, start.y), Point(end.x - half, end.y), end
