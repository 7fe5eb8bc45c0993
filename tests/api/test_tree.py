"""The drawing of a tree for the page: what is shown of it, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pytest

from circle_migrate.api.page.tree import MOST_ROWS, Tree, tree
from circle_migrate.commands.history import ListedRevision
from circle_migrate.revision_graph.revision import Revision


def drawn(
    parents: Mapping[str, Sequence[str]], marks: Mapping[str, Sequence[str]], pending: Sequence[str] = ()
) -> Tree:
    """Return the drawing of revisions, given from the newest with their parents."""
    entries = [
        ListedRevision(
            Revision("main", key, f"Revision {key}", down_revisions=tuple(own)), tuple(marks.get(key, ()))
        )
        for key, own in parents.items()
    ]
    return tree("main", entries, pending)


def line(length: int) -> dict[str, list[str]]:
    """Return a tree without branches, the newest first."""
    return {f"r{number}": [f"r{number - 1}"] if number else [] for number in reversed(range(length))}


def shown(tree: Tree) -> list[str]:
    """Return the texts of the rows."""
    return [row.entry.revision.id if row.entry else row.text for row in tree.rows]


def links(tree: Tree) -> list[tuple[float, float, float, float]]:
    """Return the ends of the lines as x, y, x, y."""
    found = []
    for part in tree.lines.replace(" M", "\nM").splitlines():
        numbers = [float(number) for number in re.findall(r"[\d.]+", part)]
        (x, y), end = numbers[:2], numbers[-2:]
        found.append((x, y, *(end if "C" in part else (x, numbers[-1]))))
    return found


def test_a_small_tree_is_drawn_whole_with_its_branches_and_marks() -> None:
    parents = {"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}
    picture = drawn(parents, {"d": ["head", "merge"], "a": ["current", "branch point"]}, ["b", "c", "d"])
    assert shown(picture) == ["d", "c", "b", "a"]
    assert (picture.shown, picture.total) == (4, 4)
    places = {row.entry.revision.id: (row.x, row.y) for row in picture.rows if row.entry}
    assert {line[:2] for line in links(picture)} >= {places["d"], places["c"], places["b"]}
    assert [line[2:] for line in links(picture)].count(places["a"]) == 2
    assert [[mark.word for mark in row.marks] for row in picture.rows] == [["head"], [], [], ["current"]]
    assert [row.is_pending for row in picture.rows] == [True, True, True, False]
    assert picture.description == ("4 revisions, 3 pending, 1 branch point, 1 merge. Current: a. Head: d.")
    assert all(row.text_x + 10 < picture.width and row.y + 10 < picture.height for row in picture.rows)


@pytest.mark.parametrize("length", [500, 2000])
def test_of_a_large_tree_the_revisions_around_the_current_one_and_the_head_are_drawn(length: int) -> None:
    middle = length // 2
    picture = drawn(line(length), {f"r{length - 1}": ["head"], f"r{middle}": ["current"]})
    texts = shown(picture)
    assert (picture.shown, picture.total) == (MOST_ROWS, length)
    assert {f"r{length - 1}", f"r{length - 10}", f"r{middle + 9}", f"r{middle}", f"r{middle - 9}"} <= set(
        texts
    )
    folded = [row.folded for row in picture.rows if not row.entry]
    assert len(folded) == 2
    assert sum(folded) + MOST_ROWS == length
    assert f"{folded[1]:,} more" == texts[-1]
    assert len(links(picture)) == len(picture.rows) - 1, "the rows are still one line"


def test_many_heads_are_drawn_up_to_the_limit() -> None:
    parents = {**{f"h{number}": ["r99"] for number in range(300)}, **line(100)}
    picture = drawn(parents, {f"h{number}": ["head"] for number in range(300)})
    assert picture.shown == MOST_ROWS
    assert shown(picture)[:2] == ["h0", "h1"]
    assert len(links(picture)) < MOST_ROWS**2


def test_branches_inside_of_a_fold_do_not_make_lines() -> None:
    parents = line(200)
    parents |= {"merge": ["side", "r199"], **parents, "side": ["r0"]}
    ordered = {key: parents[key] for key in ("merge", *list(line(200))[:-1], "side", "r0")}
    picture = drawn(ordered, {"merge": ["head", "current", "merge"]})
    assert picture.rows[-1].folded == 202 - MOST_ROWS
    assert {end[2:] for end in links(picture)} >= {(picture.rows[-1].x, picture.rows[-1].y)}


def test_texts_have_their_place() -> None:
    short = tree("main", [ListedRevision(Revision("main", "a", "x" * 20))], ())
    wide = tree("main", [ListedRevision(Revision("main", "a", "界" * 20))], ())
    long = tree("main", [ListedRevision(Revision("main", "a", "x" * 500))], ())
    required = tree("main", [ListedRevision(Revision("main", "a", "One", requires=("credentials@c1",)))], ())
    assert short.width < wide.width < long.width < 700
    assert long.rows[0].text.endswith("…")
    assert required.rows[0].text == "One (requires credentials@c1)"
    assert tree("main", [], ()).rows == ()
