"""Draw panels of lines on logarithmic axes as SVG that follows the reader's light or dark scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _HEIGHT = 460, 354
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 128, 30, 54
_LINE_HEIGHT = 13
_FOOT = "After each command: the exponent of its growth beyond the time at size 1 (0 constant, 1 linear)."
_COLOURS = ["#0969da", "#bf5700", "#1a7f37", "#8250df", "#b3212d", "#0f766e", "#9a6700", "#c2327b"]
_DARK = ["#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#ff7b72", "#2dd4bf", "#d29922", "#f778ba"]


@dataclass(frozen=True)
class Line:
    """A label and times in seconds by size."""

    label: str
    points: Mapping[int, float]


@dataclass(frozen=True)
class Panel:
    """A title, which names the sizes, and lines."""

    title: str
    lines: Sequence[Line]


def _style() -> str:
    def scheme(text: str, grid: str, colours: Sequence[str]) -> str:
        lines = "".join(
            f".c{number}{{stroke:{colour}}}text.c{number}{{fill:{colour};stroke:none}}"
            for number, colour in enumerate(colours)
        )
        return f"text{{fill:{text}}}.grid{{stroke:{grid}}}{lines}"

    fixed = "text{font:11px sans-serif}.title{font-weight:bold}polyline{fill:none;stroke-width:2}"
    dark = scheme("#d1d7e0", "#3d444d", _DARK)
    light = scheme("#1f2328", "#d1d9e0", _COLOURS)
    return f"<style>{fixed}{light}@media(prefers-color-scheme:dark){{{dark}}}</style>"


def _apart(wanted: Sequence[float]) -> list[float]:
    """Return heights for labels near the wanted ones, at least a line apart and inside the panel."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    heights = list(wanted)
    least, most = float(_TOP), float(_HEIGHT - _BOTTOM)
    for number in order:
        heights[number] = max(heights[number], least)
        least = heights[number] + _LINE_HEIGHT
    for number in reversed(order):
        heights[number] = min(heights[number], most)
        most = heights[number] - _LINE_HEIGHT
    return heights


def _drawn(panel: Panel) -> Iterator[str]:
    sizes = sorted({size for line in panel.lines for size in line.points})
    times = [time for line in panel.lines for time in line.points.values()]
    low, high = floor(log10(min(times))), ceil(log10(max(times)))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    span = log10(sizes[-1] / sizes[0]) or 1.0

    def x(size: float) -> float:
        return _LEFT + width * log10(size / sizes[0]) / span

    def y(time: float) -> float:
        return _TOP + height * (high - log10(time)) / ((high - low) or 1)

    yield f'<text class="title" x="{_LEFT}" y="16">{escape(panel.title)}</text>'
    for power in range(low, high + 1):
        at = y(10.0**power)
        yield f'<path class="grid" d="M{_LEFT} {at:.1f}H{_LEFT + width}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>'
    for size in sizes:
        yield f'<path class="grid" d="M{x(size):.1f} {_TOP}V{_TOP + height}"/>'
        yield f'<text x="{x(size):.1f}" y="{_TOP + height + 16}" text-anchor="middle">{size:,}</text>'
    after = _LEFT + width + 6
    labels = _apart([y(line.points[max(line.points)]) for line in panel.lines])
    for number, (line, label) in enumerate(zip(panel.lines, labels, strict=True)):
        points = " ".join(f"{x(size):.1f},{y(time):.1f}" for size, time in sorted(line.points.items()))
        yield f'<polyline class="c{number}" points="{points}"/>'
        yield f'<text class="c{number}" x="{after}" y="{label + 4:.1f}">{escape(line.label)}</text>'


def draw(panels: Sequence[Panel]) -> str:
    """Return the SVG of the panels, side by side."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * len(panels)} {_HEIGHT}" role="img">',
        "<title>Seconds of each command by size, with the exponent of its growth</title>",
        _style(),
    ]
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate({number * _WIDTH})">', *_drawn(panel), "</g>"]
    return "\n".join([*parts, f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{_FOOT}</text>', "</svg>"]) + "\n"
