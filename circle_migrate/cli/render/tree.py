"""Draw a revision tree beside its list, as `git log --graph` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circle_migrate.commands.history import ListedRevision


def draw_tree(entries: Sequence[ListedRevision]) -> Iterator[tuple[str, ListedRevision | None]]:
    """Yield lines for entries, newest first: the drawing, and the entry of the line or None."""
    listed = {entry.revision.id for entry in entries}
    lanes: list[str] = []  # by column, the revision that its line leads down to
    for entry in entries:
        key = entry.revision.id
        listed.discard(key)
        if key not in lanes:
            lanes.append(key)
        place = lanes.index(key)
        while key in lanes[place + 1 :]:
            other = lanes.index(key, place + 1)
            del lanes[other]
            yield "| " * (other - 1) + "|/" + " /" * (len(lanes) - other), None
            for column in range(other - 1, place, -1):
                yield "| " * (column - 1) + "|/" + "| " * (len(lanes) - column), None
        following = len(lanes) - place - 1
        yield "| " * place + "*" + " |" * following, entry
        parents = [parent for parent in entry.revision.down_revisions if parent in listed]
        lanes[place : place + 1] = parents
        if not parents and entry is not entries[-1]:
            yield "| " * place + " /" * following, None
        for column in range(place, place + len(parents) - 1):
            yield "| " * column + "|\\" + " \\" * following, None
