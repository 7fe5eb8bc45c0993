"""The drawing of revision trees: its lines lead from each revision to its parents, and nowhere else."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from circle_migrate.cli.console import console
from circle_migrate.cli.render.listing import draw_tree
from circle_migrate.cli.write import render
from circle_migrate.commands.history import ListedRevision, RevisionList
from circle_migrate.revision_graph.revision import Revision
from tests.random_graph import Parents, random_graph


def draw(parents: Parents) -> list[tuple[str, str]]:
    """Return the drawing of revisions, given from the newest, with the id of each line."""
    entries = [ListedRevision(Revision("main", key, down_revisions=down)) for key, down in parents.items()]
    return [(text.rstrip(), entry.revision.id if entry else "") for text, entry in draw_tree(entries)]


CHAIN = "* c\n* b\n* a"
MERGE = "* d\n|\\\n* | c\n| * b\n|/\n* a"
HEADS = "* d\n| * c\n|/\n* b\n* a"
ROOTS = "* d\n|\\\n* | c\n /\n* b"
CROSSING = "* d\n| * c\n| | * b\n| |/\n|/|\n* | a\n /\n* z"


@pytest.mark.parametrize(
    ("parents", "drawing"),
    [
        ({"c": ("b",), "b": ("a",), "a": ()}, CHAIN),
        ({"d": ("c", "b"), "c": ("a",), "b": ("a",), "a": ()}, MERGE),
        ({"d": ("b",), "c": ("b",), "b": ("a",), "a": ()}, HEADS),
        ({"d": ("c", "b"), "c": ("unlisted",), "b": ()}, ROOTS),
        ({"d": ("a",), "c": ("z",), "b": ("a",), "a": (), "z": ()}, CROSSING),
    ],
    ids=["chain", "merge", "two heads", "two roots", "crossing"],
)
def test_trees_are_drawn_as_git_draws_them(parents: Parents, drawing: str) -> None:
    assert "\n".join(f"{text} {key}".rstrip() for text, key in draw(parents)) == drawing


def test_history_has_a_line_for_each_revision() -> None:
    entries = (
        ListedRevision(Revision("main", "b4fc", "Add payments", down_revisions=("c419",)), ("head",)),
        ListedRevision(Revision("main", "c419", "Add events", labels=("x",), requires=("credentials@c4b0",))),
    )
    lines = [
        "main:",
        "* b4fc (head) Add payments",
        "* c419 (label x, requires credentials@c4b0) Add events",
        "credentials: none",
    ]
    for command, listed in (("history", entries), ("heads", entries[::-1])):
        page = io.StringIO()
        render(RevisionList(command, {"main": listed, "credentials": ()}), console(page))
        assert page.getvalue().splitlines() == lines


def test_history_on_a_narrow_terminal_wraps_beside_the_tree() -> None:
    entry = ListedRevision(Revision("main", "b4fcf60d8659", "Add payments and instalments of registrations"))
    page = io.StringIO()
    screen = Console(file=page, width=40, force_terminal=True, color_system=None)
    render(RevisionList("history", {"main": (entry,)}), screen)
    assert page.getvalue().splitlines()[1:] == [
        "* b4fcf60d8659 Add payments and",
        "  instalments of registrations",
    ]


def ends(lines: list[tuple[str, str]], row: int, column: int, *, slanting: bool = False) -> set[str]:
    """Return the revisions to which the line leads that leaves a row at a column."""
    text, key = lines[row + 1]
    text = f" {text}".ljust(column + 4)
    left, here, right = text[column], text[column + 1], text[column + 2]
    if left == "/" and (slanting or here == " "):
        return ends(lines, row + 1, column - 2, slanting=True)
    result = ends(lines, row + 1, column + 2) if right == "\\" else set()
    if here == "*":
        return result | {key}
    return result | (ends(lines, row + 1, column) if here == "|" else set())


@pytest.mark.parametrize("seed", range(200))
def test_lines_lead_to_the_parents(seed: int) -> None:
    parents = random_graph(seed)
    keys = list(parents)
    lines = draw(parents)
    assert [key for _, key in lines if key] == keys
    for row, (text, key) in enumerate(lines):
        if key:
            reached = ends([*lines, ("", "")], row, text.index("*"))
            assert reached == set(parents[key]), "\n".join(f"{text}  {key}" for text, key in lines)
