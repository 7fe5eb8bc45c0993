"""Squashed revisions in the graph: what a plan runs from every state, with and without the replaced files."""

from __future__ import annotations

import pytest

from circle_migrate.core.errors import MigrateError, TreeError, UnknownRevision, UsageError
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.plan import Plan, Step, plan_downgrade, plan_exactly, plan_upgrade
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.target import downgrade_set, parse, upgrade_set


def revision(key: str, *down: str, **more: tuple[str, ...]) -> Revision:
    return Revision("main", key, f"Revision {key}", f"/nowhere/{key}.py", down_revisions=down, **more)


FIRST, SQUASHED, LAST = (
    revision("a1"),
    revision("s0", "a1", replaces=("b2", "c3", "d4")),
    revision("e5", "d4"),
)
REPLACED = (revision("b2", "a1"), revision("c3", "b2"), revision("d4", "c3"))
FROM_BASE = (revision("s0", replaces=("b2", "c3", "d4")), revision("b2"), *REPLACED[1:])

WITH_FILES = Graph("main", [FIRST, *REPLACED, SQUASHED, LAST])
WITHOUT_FILES = Graph("main", [FIRST, SQUASHED, LAST])
OF_HEAD = Graph("main", FROM_BASE)
NESTED = Graph("main", [*REPLACED, SQUASHED, FIRST, LAST, revision("t9", replaces=("a1", "s0", "e5"))])


def described(plan: Plan) -> str:
    return " ".join(
        f"{action.direction}:{action.revision.id if isinstance(action, Step) else ','.join(action.heads)}"
        for action in plan.actions
    )


def planned(graph: Graph, rows: str, target: str, *, down: bool = False) -> Plan:
    combined, current = CombinedGraph({"main": graph}), {"main": tuple(rows.split())}
    if down:
        return plan_downgrade(
            combined, current, {"main": downgrade_set(graph, current["main"], parse(target, []))}
        )
    return plan_upgrade(combined, current, {"main": upgrade_set(graph, current["main"], parse(target, []))})


UPGRADES = [
    (WITH_FILES, "", "head", "up:a1 up:s0 up:e5", "a1 s0 e5"),
    (WITH_FILES, "a1", "head", "up:b2 up:c3 up:d4 stamp:s0 up:e5", "b2 c3 d4 e5"),
    (WITH_FILES, "c3", "head", "up:d4 stamp:s0 up:e5", "d4 e5"),
    (WITH_FILES, "d4", "head", "stamp:s0 up:e5", "e5"),
    (WITH_FILES, "s0", "head", "up:e5", "e5"),
    (WITH_FILES, "e5", "head", "", ""),
    (WITH_FILES, "", "c3", "up:a1 up:b2 up:c3", "a1 s0 e5"),
    (WITH_FILES, "", "d4", "up:a1 up:s0", "a1 s0 e5"),
    (WITH_FILES, "d4", "s0", "stamp:s0", "e5"),
    (WITH_FILES, "d4", "+1", "stamp:s0 up:e5", "e5"),
    (WITH_FILES, "c3", "+1", "up:d4 stamp:s0", "d4 e5"),
    (WITH_FILES, "b2", "+1", "up:c3", "c3 d4 e5"),
    (OF_HEAD, "", "+1", "up:s0", "s0"),
    (OF_HEAD, "", "head", "up:s0", "s0"),
    (OF_HEAD, "b2", "head", "up:c3 up:d4 stamp:s0", "c3 d4"),
    (OF_HEAD, "d4", "head", "stamp:s0", ""),
    (WITHOUT_FILES, "", "head", "up:a1 up:s0 up:e5", "a1 s0 e5"),
    (WITHOUT_FILES, "a1", "head", "up:s0 up:e5", "s0 e5"),
    (WITHOUT_FILES, "a1", "+1", "up:s0", "s0 e5"),
    (WITHOUT_FILES, "d4", "head", "stamp:s0 up:e5", "e5"),
    (WITHOUT_FILES, "s0", "head", "up:e5", "e5"),
    (NESTED, "", "head", "up:t9", "t9"),
    (NESTED, "c3", "head", "up:d4 stamp:s0 up:e5 stamp:t9", "d4 e5"),
    (NESTED, "d4", "head", "stamp:s0 up:e5 stamp:t9", "e5"),
    (NESTED, "e5", "head", "stamp:t9", ""),
]


@pytest.mark.parametrize(("graph", "rows", "target", "actions", "pending"), UPGRADES)
def test_upgrade(graph: Graph, rows: str, target: str, actions: str, pending: str) -> None:
    plan = planned(graph, rows, target)
    assert described(plan) == actions
    assert " ".join(graph.sorted(graph.pending(tuple(rows.split())))) == pending
    if plan:
        heads = {"main": tuple(rows.split())}
        for action in plan.actions:
            heads["main"] = action.heads_after(graph, heads["main"])
        assert heads == plan.after


DOWNGRADES = [
    (WITH_FILES, "e5", "a1", "down:e5 down:s0", "a1"),
    (WITH_FILES, "e5", "s0", "down:e5", "s0"),
    (WITH_FILES, "e5", "d4", "down:e5", "s0"),
    (WITH_FILES, "e5", "c3", "down:e5 stamp:d4 down:d4", "c3"),
    (WITH_FILES, "s0", "-1", "down:s0", "a1"),
    (WITH_FILES, "e5", "-2", "down:e5 down:s0", "a1"),
    (WITH_FILES, "d4", "-1", "stamp:s0 down:s0", "a1"),
    (WITH_FILES, "d4", "b2", "down:d4 down:c3", "b2"),
    (WITH_FILES, "d4", "d4", "", "d4"),
    (WITH_FILES, "c3", "-1", "down:c3", "b2"),
    (WITH_FILES, "c3", "base", "down:c3 down:b2 down:a1", ""),
    (OF_HEAD, "s0", "base", "down:s0", ""),
    (WITHOUT_FILES, "e5", "a1", "down:e5 down:s0", "a1"),
    (WITHOUT_FILES, "d4", "base", "stamp:s0 down:s0 down:a1", ""),
    (NESTED, "t9", "base", "down:t9", ""),
    (NESTED, "t9", "s0", "stamp:e5 down:e5", "s0"),
    (NESTED, "t9", "c3", "stamp:e5 down:e5 stamp:d4 down:d4", "c3"),
]


@pytest.mark.parametrize(("graph", "rows", "target", "actions", "after"), DOWNGRADES)
def test_downgrade(graph: Graph, rows: str, target: str, actions: str, after: str) -> None:
    plan = planned(graph, rows, target, down=True)
    assert described(plan) == actions
    if plan:
        heads = {"main": tuple(rows.split())}
        for action in plan.actions:
            heads["main"] = action.heads_after(graph, heads["main"])
        assert heads == plan.after == {"main": tuple(after.split())}


@pytest.mark.parametrize(
    ("graph", "keys", "actions"),
    [
        (WITH_FILES, "a1 b2 c3 d4 s0", "up:a1 up:s0"),
        (WITH_FILES, "a1 s0", "up:a1 up:s0"),
        (WITH_FILES, "a1 b2 c3 d4", "up:a1 up:b2 up:c3 up:d4"),
        (WITHOUT_FILES, "a1 b2 c3 d4", "up:a1 up:s0 stamp:d4"),
        (WITHOUT_FILES, "a1 b2 c3 d4 s0", "up:a1 up:s0"),
    ],
)
def test_scratch_databases_run_the_squashed_revision(graph: Graph, keys: str, actions: str) -> None:
    combined = CombinedGraph({"main": graph})
    names = [f"main@{key}" for key in keys.split()]
    assert described(plan_exactly(combined, {"main": ()}, names)) == actions


def test_one_line_with_one_head() -> None:
    for graph in (WITH_FILES, WITHOUT_FILES):
        assert graph.sorted(graph.revisions) == ("a1", "b2", "c3", "d4", "s0", "e5")
        assert (graph.heads, graph.branch_points) == (("e5",), ())
        assert [graph.find(name) for name in ("d4", "d", "s0")] == ["s0"] * 3
        for key, created in (("e5", {"a1", "s0", "e5"}), ("d4", {"a1", "b2", "c3", "d4"})):
            assert graph.squashes.without_alternatives(graph.ancestors([key])) == created
    assert WITH_FILES.find("c3") == "c3"
    assert [graph.squashes.as_parent("s0") for graph in (WITH_FILES, WITHOUT_FILES)] == ["d4", "s0"]


def test_files_that_are_gone() -> None:
    for rows, found in (("b2", "b2"), ("c3", "c3"), ("d4", None), ("s0", None), ("e5", None), ("a1", None)):
        assert WITHOUT_FILES.squashes.unfinished([rows]) == found
        assert WITH_FILES.squashes.unfinished([rows]) is None
    with pytest.raises(UnknownRevision, match="main has to run d4, one of the revisions that s0 replaces"):
        planned(WITHOUT_FILES, "c3", "head")
    with pytest.raises(UsageError, match="s0 replaces c3, whose file is gone"):
        planned(WITHOUT_FILES, "a1", "c3")


def test_what_follows_one_inside_makes_databases_run_the_replaced_files() -> None:
    graph = Graph("main", [FIRST, *REPLACED, SQUASHED, revision("x6", "c3")])
    assert graph.heads == ("s0", "x6")
    assert described(planned(graph, "", "s0")) == "up:a1 up:b2 up:c3 up:d4 stamp:s0"


def test_requirements_of_a_replaced_revision_are_those_of_the_squashed_one() -> None:
    other = Revision("other", "o1", requires=("main@c3", "main@d4"))
    graph = CombinedGraph({"other": Graph("other", [other]), "main": WITH_FILES})
    assert graph.requires == {"other@o1": ("main@s0",)}
    plan = plan_upgrade(graph, {"other": (), "main": ()}, {"other": {"o1"}})
    assert described(plan) == "up:a1 up:s0 up:o1"


BROKEN = [
    (
        [FIRST, *REPLACED, revision("s0", "a1", replaces=("b2", "d4"))],
        "s0 replaces d4 after b2, but d4 follows c3",
    ),
    (
        [FIRST, *REPLACED, revision("s0", replaces=("b2", "c3"))],
        "s0 replaces b2 after none, but b2 follows a1",
    ),
    ([FIRST, *REPLACED, SQUASHED, revision("u7", "c3", replaces=("d4",))], "u7 replaces d4, as s0 does"),
    ([revision("s0", replaces=("s0",))], "s0 replaces s0, as s0 does"),
    ([FIRST, SQUASHED, revision("x6", "c3")], "x6 follows c3, which s0 replaces, and its file is gone"),
]


@pytest.mark.parametrize(("revisions", "message"), BROKEN)
def test_what_is_no_line_is_refused(revisions: list[Revision], message: str) -> None:
    with pytest.raises(TreeError) as caught:
        Graph("main", revisions)
    error: MigrateError = caught.value
    assert message in error.message
    assert error.location
    assert error.hint
