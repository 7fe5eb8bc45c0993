"""Drawings as SVG: one file that needs nothing else, with colours for light and for dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from circle_migrate.core.drawing import CURRENT, HEAD, Drawing, Edge, Link, Node, Number, Shape, visible
from circle_migrate.graphs.boxes import CHARACTER, LINE, PADDING, Box, boxes, cells
from circle_migrate.graphs.labels import labels
from circle_migrate.graphs.layout import GROUP_PADDING, Layout, Point, Rectangle, layered

_MARGIN = 24.0
_TOP = 40.0
"""Room for the title."""

# Colours are written out twice and not as variables, which only browsers know.
_STYLE = """
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328;
  white-space: pre }
.page { fill: #ffffff }
.heading { font-size: 15px; font-weight: bold }
.group { fill: none; stroke: #d1d9e0 }
.name, .title, .key { font-weight: bold }
.type, .note, .label { fill: #59636e }
.keys { fill: #0969da }
.marks { font-style: italic }
.box { fill: #f6f8fa; stroke: #818b98 }
.elsewhere { stroke-dasharray: 4 3; opacity: 0.7 }
.enum { fill: #fff8c5 }
.head { stroke: #0969da; stroke-width: 3px }
.current { fill: #aceebb }
.rule { stroke: #818b98 }
.edge { fill: none; stroke: #818b98; stroke-width: 1.5px }
.depends, .uses { stroke-dasharray: 2 4 }
.requires { stroke: #0969da; stroke-dasharray: 7 4 }
.label { font-size: 10px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; text-anchor: middle }
.end { fill: none; stroke: #818b98; stroke-width: 1.5px }
.hollow { fill: #ffffff }
.arrow { fill: #818b98 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .page, .hollow { fill: #0d1117 }
  .group { stroke: #3d444d }
  .type, .note, .label { fill: #9198a1 }
  .keys { fill: #4493f8 }
  .box { fill: #151b23; stroke: #7d8590 }
  .enum { fill: #3b3416 }
  .head, .requires { stroke: #4493f8 }
  .current { fill: #1b4d2b }
  .label { stroke: #0d1117 }
}
"""

# Ends of lines, drawn with the line coming from the left and the box on the right, at 20.
_MARKERS = {
    "arrow": '<path class="arrow" d="M20 10 L10 5 L10 15 Z"/>',
    "one": '<path class="end" d="M12 4 V16 M7 4 V16"/>',
    "optional": '<path class="end" d="M14 4 V16"/><circle class="end hollow" cx="6" cy="10" r="4"/>',
    "many": '<path class="end" d="M20 3 L9 10 L20 17 M9 10 H20"/>'
    '<circle class="end hollow" cx="5" cy="10" r="4"/>',
}
_ENDS = {Number.ONE: "one", Number.OPTIONAL: "optional", Number.MANY: "many"}
_CLASSES = {
    Link.FOLLOWS: "follows",
    Link.DEPENDS: "depends",
    Link.REQUIRES: "requires",
    Link.REFERENCES: "references",
    Link.USES: "uses",
}


def svg(drawing: Drawing) -> str:
    """The drawing as a file of its own."""
    sizes = boxes(drawing)
    return "\n".join([*_document(drawing, sizes, layered(drawing, sizes)), ""])


def _document(drawing: Drawing, sizes: Mapping[str, Box], layout: Layout) -> Iterator[str]:
    legend = list(_legend(drawing))
    left, top, right, bottom = _extent(layout)
    right = max(right, left + CHARACTER * 1.25 * cells(visible(drawing.title)), left + _legend_width(drawing))
    head = _TOP + (LINE * 2 if legend else 0)
    x, y = left - _MARGIN, top - _MARGIN - head
    width, height = right - x + _MARGIN, bottom - y + _MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{x:.1f} {y:.1f} {width:.1f} {height:.1f}" role="img">'
    )
    yield f"<title>{_text(drawing.title)}</title>"
    yield f"<style>{_STYLE}</style>"
    yield f"<defs>{''.join(map(_marker, _MARKERS))}</defs>"
    yield f'<rect class="page" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    yield f'<text class="heading" x="{left:.1f}" y="{y + _MARGIN + 12:.1f}">{_text(drawing.title)}</text>'
    if legend:
        yield f'<g transform="translate({left:.1f} {y + _TOP + LINE:.1f})">{"".join(legend)}</g>'
    for name, frame in layout.groups.items():
        yield _frame(name, frame)
    # Lines before boxes: none is ever drawn over a text.
    for edge, curve in zip(drawing.edges, layout.curves, strict=True):
        yield _line(edge, curve)
    for node in drawing.nodes:
        yield _box(node, sizes[node.id], layout.boxes[node.id])
    for edge, place in zip(drawing.edges, labels(drawing, layout), strict=True):
        if place:
            yield _label(edge.label, place.center)
    yield "</svg>"


def _extent(layout: Layout) -> tuple[float, float, float, float]:
    points = [point for curve in layout.curves for point in curve]
    for each in layout.groups.values():
        points += [Point(each.x, each.y), Point(each.x + each.width, each.y + each.height)]
    xs, ys = [point.x for point in points] or [0.0], [point.y for point in points] or [0.0]
    return min(xs), min(ys), max(xs), max(ys)


def _marker(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 20 20" refX="20" refY="10" markerWidth="16" markerHeight="16" '
        f'markerUnits="userSpaceOnUse" orient="auto-start-reverse">{_MARKERS[name]}</marker>'
    )


def _frame(name: str, frame: Rectangle) -> str:
    return (
        f'<rect class="group" rx="12" x="{frame.x:.1f}" y="{frame.y:.1f}" width="{frame.width:.1f}" '
        f'height="{frame.height:.1f}"/><text class="name" x="{frame.x + PADDING:.1f}" '
        f'y="{frame.y + GROUP_PADDING * 0.75:.1f}">{_text(name)}</text>'
    )


def _line(edge: Edge, curve: tuple[Point, ...]) -> str:
    places = [f"{point.x:.1f} {point.y:.1f}" for point in curve]
    ends = ""
    if edge.ends:
        source, target = (_ENDS[end] for end in edge.ends)
        ends = f' marker-start="url(#{source})" marker-end="url(#{target})"'
    elif edge.link is not Link.USES:
        ends = ' marker-end="url(#arrow)"'
    return f'<path class="edge {_CLASSES[edge.link]}" d="M{places[0]} C{" ".join(places[1:])}"{ends}/>'


def _box(node: Node, box: Box, place: Rectangle) -> str:
    classes = ["box", *(mark for mark in (HEAD, CURRENT) if mark in node.marks)]
    classes += [str(node.shape)] if node.shape in (Shape.ENUM, Shape.ELSEWHERE) else []
    whole = "\n".join(map(visible, (node.title, *node.lines)))
    parts = [
        f'<g transform="translate({place.x:.1f} {place.y:.1f})">',
        f"<title>{_escape(whole)}</title>",
        f'<rect class="{" ".join(classes)}" rx="6" width="{box.width:.1f}" height="{box.height:.1f}"/>',
    ]
    if box.header:
        parts.append(f'<path class="rule" d="M0 {box.header:.1f} H{box.width:.1f}"/>')
    for text in box.texts:
        style = f' class="{text.style}"' if text.style else ""
        parts.append(f'<text{style} x="{text.x:.1f}" y="{text.y:.1f}">{_escape(text.text)}</text>')
    return "".join([*parts, "</g>"])


def _label(text: str, center: Point) -> str:
    return f'<text class="label" x="{center.x:.1f}" y="{center.y + 3:.1f}">{_text(text)}</text>'


def _samples(drawing: Drawing) -> list[tuple[str, str]]:
    """What the legend explains: classes of a box or line, and the word for them."""
    if drawing.is_relational:
        return []
    marks = [(f"box {mark}", mark) for mark in drawing.marks()]
    return marks + [(f"edge {_CLASSES[link]}", str(link)) for link in drawing.links()]


def _legend(drawing: Drawing) -> Iterator[str]:
    x = 0.0
    for classes, word in _samples(drawing):
        if classes.startswith("box"):
            yield f'<rect class="{classes}" rx="4" x="{x + 4:.1f}" y="-11" width="24" height="14"/>'
        else:
            yield f'<path class="{classes}" d="M{x:.1f} -4 H{x + 32:.1f}" marker-end="url(#arrow)"/>'
        yield f'<text class="note" x="{x + 40:.1f}" y="0">{word}</text>'
        x += _sample_width(word)


def _legend_width(drawing: Drawing) -> float:
    return sum(_sample_width(word) for _, word in _samples(drawing))


def _sample_width(word: str) -> float:
    return 40 + CHARACTER * len(word) + 24


def _text(text: str) -> str:
    return _escape(visible(text))


def _escape(text: str) -> str:
    return escape(text, quote=False)
