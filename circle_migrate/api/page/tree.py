"""A tree of revisions as rows and lines for an SVG, the newest revision at the top."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from heapq import nsmallest
from itertools import groupby, pairwise
from typing import NamedTuple

from circle_migrate.commands.graph.drawing import CURRENT, HEAD
from circle_migrate.commands.graph.lanes import Lane, lanes
from circle_migrate.commands.history import ListedRevision
from circle_migrate.core.counted import counted

MOST_ROWS = 40
"""Revisions of a tree that are shown; those around the current ones and the heads are chosen."""

_ROW, _COLUMN, _MARGIN, _GAP = 26, 18, 12, 10
"""Pixels: the height of a row, the width of a column, the space around the drawing and between texts."""

_ID_CHARACTER, _CHARACTER, _MARK_CHARACTER = 7.9, 7.2, 6.6
"""Pixels of a character in an id, a message and a mark, as no browser says on a server."""

_MARK_PADDING = 14
_LONGEST = 72
"""Characters of a message that are drawn."""


class Mark(NamedTuple):
    """A word in a frame beside a revision."""

    word: str
    x: float
    width: float


class Row(NamedTuple):
    """A revision of the drawing, or the number of revisions that are folded into the row."""

    x: float
    y: float
    entry: ListedRevision | None
    folded: int = 0
    is_pending: bool = False
    text: str = ""
    marks: tuple[Mark, ...] = ()
    text_x: float = 0.0


class Tree(NamedTuple):
    """The drawing of a database's revisions: `lines` is the data of a path, `shown` of `total` are rows."""

    database: str
    rows: tuple[Row, ...]
    lines: str
    width: int
    height: int
    label_x: float
    shown: int
    total: int
    description: str


def tree(database: str, entries: Sequence[ListedRevision], pending: Collection[str]) -> Tree:
    """Return the drawing of revisions, newest first; `pending` has the ids of those that are pending."""
    folds = _folds(entries)
    owner = {entry.revision.id: key for key, group in folds.items() for entry in group}
    parents = {
        key: tuple(
            dict.fromkeys(
                owner[parent]
                for entry in group
                for parent in entry.revision.down_revisions
                if owner.get(parent, key) != key
            )
        )
        for key, group in folds.items()
    }
    drawn = list(lanes(parents))
    label_x = _MARGIN + _COLUMN * max((lane.width for lane in drawn), default=0)
    rows = tuple(
        _row(lane, number, label_x, folds[lane.revision], pending) for number, lane in enumerate(drawn)
    )
    width = max((_end(row) for row in rows), default=0) + _MARGIN
    shown = sum(row.entry is not None for row in rows)
    return Tree(
        database,
        rows,
        " ".join(_lines(drawn)),
        round(width),
        round(_y(len(rows)) - _ROW / 2 + _MARGIN),
        label_x,
        shown,
        len(entries),
        _description(entries, pending),
    )


def _folds(entries: Sequence[ListedRevision]) -> dict[str, list[ListedRevision]]:
    """Return the revisions by the rows that show them: many that follow each other in the list share one.

    The list has children before parents, so that a row of neighbours leads to no row above it.
    """
    marked = [number for number, entry in enumerate(entries) if {CURRENT, HEAD} & set(entry.marks)] or [0]

    def distance(number: int) -> tuple[int, int]:
        return min(abs(number - other) for other in marked), number

    numbers = range(len(entries)) if len(marked) < MOST_ROWS else marked
    shown = set(nsmallest(MOST_ROWS, numbers, distance) if len(entries) > MOST_ROWS else numbers)
    folds: dict[str, list[ListedRevision]] = {}
    for is_shown, run in groupby(range(len(entries)), shown.__contains__):
        group = [entries[number] for number in run]
        if is_shown:
            folds.update({entry.revision.id: [entry] for entry in group})
        else:
            folds[f"{group[0].revision.id} and {len(group) - 1} more"] = group
    return folds


def _row(
    lane: Lane, number: int, label_x: float, group: Sequence[ListedRevision], pending: Collection[str]
) -> Row:
    x, y = _x(lane.place), _y(number)
    entry = group[0]
    if lane.revision != entry.revision.id:
        return Row(x, y, None, len(group), text=f"{len(group):,} more", text_x=label_x)
    text_x = label_x + len(entry.revision.id) * _ID_CHARACTER + _GAP
    marks = []
    for word in (mark for mark in (CURRENT, HEAD) if mark in entry.marks):
        marks.append(Mark(word, text_x, len(word) * _MARK_CHARACTER + _MARK_PADDING))
        text_x += marks[-1].width + _GAP / 2
    needs = f" (requires {', '.join(entry.revision.requires)})" if entry.revision.requires else ""
    text = f"{entry.revision.message}{needs}"
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    is_pending = entry.revision.id in pending
    return Row(x, y, entry, 0, is_pending, text, tuple(marks), text_x + _GAP / 2 if marks else text_x)


def _end(row: Row) -> float:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in row.text)
    return row.text_x + (len(row.text) + wide) * _CHARACTER


def _lines(drawn: Sequence[Lane]) -> Iterator[str]:
    """Yield the parts of a path: each line from a row to the next one."""
    for number, (upper, lower) in enumerate(pairwise(drawn)):
        top, bottom = _y(number), _y(number + 1)
        for column in range(upper.width - 1 + len(upper.parents)):
            start, end = _x(upper.column_below(column)), _x(lower.column_above(column))
            middle = (top + bottom) / 2
            curve = (
                f"V{bottom:g}" if start == end else f"C{start} {middle:g} {end} {middle:g} {end} {bottom:g}"
            )
            yield f"M{start} {top:g}{curve}"


def _x(column: int) -> int:
    return _MARGIN + column * _COLUMN


def _y(number: int) -> float:
    return _MARGIN + number * _ROW


def _description(entries: Sequence[ListedRevision], pending: Collection[str]) -> str:
    """Return what the drawing shows, for people who do not see it."""

    def ids(mark: str) -> str:
        return ", ".join(entry.revision.id for entry in entries if mark in entry.marks) or "none"

    merges = sum("merge" in entry.marks for entry in entries)
    branches = sum("branch point" in entry.marks for entry in entries)
    numbers = (counted(len(entries), "revision"), f"{len(pending):,} pending")
    text = ", ".join([*numbers, counted(branches, "branch point"), counted(merges, "merge")])
    return f"{text}. Current: {ids(CURRENT)}. Head: {ids(HEAD)}."
