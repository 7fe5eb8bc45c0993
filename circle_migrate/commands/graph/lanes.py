"""The lanes of a tree of revisions, newest first, as `git log --graph` draws commits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Lane(NamedTuple):
    """A row of the drawing.

    Lines run down in columns, each to a parent of a revision above. `joins` are the columns of further lines
    to this revision, which end here one after the other, each with the column that it has when it ends.
    `place` is then the column of the revision, and `right` the number of lines to the right of it. The lines
    to its drawn `parents` begin at its column and those next to it.
    """

    revision: str
    place: int
    joins: tuple[int, ...]
    right: int
    parents: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of columns in the row of the revision."""
        return self.place + 1 + self.right

    def column_above(self, column: int) -> int:
        """Return the column in this row of a line that leaves the row above in `column`."""
        ending = [join + number for number, join in enumerate(self.joins)]
        return self.place if column in ending else column - sum(join < column for join in ending)

    def column_below(self, column: int) -> int:
        """Return the column in this row of the line that leaves it in `column`."""
        if column < self.place:
            return column
        return max(self.place, column - len(self.parents) + 1)


def lanes(parents: Mapping[str, Sequence[str]]) -> Iterator[Lane]:
    """Yield the rows of revisions, given from the newest with their parents; others are not drawn."""
    below = set(parents)
    columns: list[str] = []  # the revision to which the line of each column leads
    for key, own in parents.items():
        below.discard(key)
        if key not in columns:
            columns.append(key)
        place = columns.index(key)
        joins = []
        while key in columns[place + 1 :]:
            joins.append(columns.index(key, place + 1))
            del columns[joins[-1]]
        drawn = tuple(parent for parent in own if parent in below)
        yield Lane(key, place, tuple(joins), len(columns) - place - 1, drawn)
        columns[place : place + 1] = drawn
