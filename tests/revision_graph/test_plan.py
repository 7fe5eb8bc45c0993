"""One order over several trees: upgrades, downgrades in reverse, refusals for dependents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circle_migrate.core.errors import Refused, TreeError
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.plan import Plan, TransactionMode, plan_downgrade, plan_upgrade
from circle_migrate.revision_graph.revision import Revision

EMPTY: dict[str, tuple[str, ...]] = {"main": (), "credentials": ()}


def combined_graph(*revisions: Revision) -> CombinedGraph:
    return CombinedGraph(
        {
            name: Graph(name, [revision for revision in revisions if revision.database == name])
            for name in ("main", "credentials")
        }
    )


def names(plan: Plan) -> list[str]:
    return [action.revision.qualified for action in plan.actions]


M1, M2 = Revision("main", "m1"), Revision("main", "m2", down_revisions=("m1",))
C1 = Revision("credentials", "c1", requires=("main@m1",))
C2 = Revision("credentials", "c2", down_revisions=("c1",), requires=("main@m2",))
PAIR = combined_graph(M1, M2, C1, C2)


def everything(of: CombinedGraph) -> dict[str, set[str]]:
    return {name: set(graph.revisions) for name, graph in of.graphs.items()}


def test_requirements_come_first() -> None:
    assert names(plan_upgrade(PAIR, EMPTY, everything(PAIR))) == [
        "main@m1",
        "main@m2",
        "credentials@c1",
        "credentials@c2",
    ]


def test_a_target_pulls_in_what_it_needs_elsewhere() -> None:
    plan = plan_upgrade(PAIR, EMPTY, {"credentials": {"c1"}})
    assert names(plan) == ["main@m1", "credentials@c1"]
    assert plan.added_dependencies == (M1,)
    assert plan.after == {"main": ("m1",), "credentials": ("c1",)}


def test_requirements_leave_the_order_of_each_tree() -> None:
    trees = combined_graph(
        Revision("main", "m1"),
        Revision("main", "m2", down_revisions=("m1",)),
        Revision("main", "m3", down_revisions=("m1",), requires=("credentials@c1",)),
        Revision("main", "m4", down_revisions=("m2", "m3")),
        Revision("credentials", "c1"),
    )
    plan = plan_upgrade(trees, EMPTY, everything(trees))
    assert names(plan) == ["main@m1", "credentials@c1", "main@m3", "main@m2", "main@m4"]
    down = plan_downgrade(trees, {"main": ("m4",), "credentials": ("c1",)}, everything(trees))
    assert names(down) == names(plan)[::-1]


def test_requirements_that_contradict_the_order_of_a_tree_come_first() -> None:
    trees = combined_graph(
        Revision("main", "m1"),
        Revision("main", "m2", requires=("credentials@c1",)),
        Revision("credentials", "c1", requires=("main@m1",)),
    )
    assert names(plan_upgrade(trees, EMPTY, everything(trees))) == ["main@m1", "credentials@c1", "main@m2"]


def test_downgrade_with_dependents_is_refused_by_name() -> None:
    current = {"main": ("m2",), "credentials": ("c2",)}
    with pytest.raises(Refused, match="credentials@c2") as caught:
        plan_downgrade(PAIR, current, {"main": {"m2"}})
    assert "--cascade" in (caught.value.hint or "")
    plan = plan_downgrade(PAIR, current, {"main": {"m2"}}, cascade=True)
    assert names(plan) == ["credentials@c2", "main@m2"]


def test_an_irreversible_revision_stops_the_plan_with_its_reason() -> None:
    trees = combined_graph(Revision("main", "m1", irreversible="the old hashes are gone"))
    with pytest.raises(Refused, match="the old hashes are gone"):
        plan_downgrade(trees, {"main": ("m1",), "credentials": ()}, {"main": {"m1"}})


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ("main@gone", "does not exist"),
        ("m1", "names no database"),
        ("nowhere@m1", "unknown database"),
        ("credentials@c1", "same database"),
    ],
)
def test_impossible_requirements_are_refused(requires: str, words: str) -> None:
    with pytest.raises(TreeError, match=words):
        combined_graph(M1, C1, Revision("credentials", "c9", down_revisions=("c1",), requires=(requires,)))


def test_cycle_across_databases_is_refused() -> None:
    with pytest.raises(TreeError, match="cycle"):
        combined_graph(
            Revision("main", "m1"),
            Revision("main", "m2", down_revisions=("m1",), requires=("credentials@c1",)),
            Revision("credentials", "c1", requires=("main@m2",)),
        )


@st.composite
def forests(draw: st.DrawFn) -> CombinedGraph:
    revisions: list[Revision] = []
    for number in range(draw(st.integers(1, 14))):
        database = draw(st.sampled_from(["main", "credentials"]))
        own = [revision.id for revision in revisions if revision.database == database]
        others = [revision.qualified for revision in revisions if revision.database != database]
        down = draw(st.lists(st.sampled_from(own), max_size=2, unique=True)) if own else []
        requires = draw(st.lists(st.sampled_from(others), max_size=2, unique=True)) if others else []
        revisions.append(
            Revision(database, f"r{number}", down_revisions=tuple(down), requires=tuple(requires))
        )
    return combined_graph(*revisions)


@given(forests())
def test_down_is_the_reverse_of_up_and_leads_back(trees: CombinedGraph) -> None:
    up = plan_upgrade(trees, EMPTY, everything(trees))
    down = plan_downgrade(trees, up.after, everything(trees))
    assert names(down) == names(up)[::-1]
    assert down.after == EMPTY


@given(st.data(), forests())
def test_no_step_runs_before_its_requirements(data: st.DataObject, trees: CombinedGraph) -> None:
    graph = trees.graphs[data.draw(st.sampled_from(["main", "credentials"]))]
    wanted = set(data.draw(st.lists(st.sampled_from(list(graph.revisions) or [""]), max_size=3))) - {""}
    order = names(plan_upgrade(trees, EMPTY, {graph.database: wanted}))
    for position, name in enumerate(order):
        assert set(trees.parents(name)) <= set(order[:position])


ALONE = Revision(
    "main", "m3", down_revisions=("m2",), non_transactional_reason="it declares transactional = False"
)
ENUM = Revision("main", "m3", down_revisions=("m2",), commit_after_reason="ALTER TYPE ADD VALUE")
AFTER = Revision("main", "m4", down_revisions=("m3",))


@pytest.mark.parametrize(
    ("third", "transaction_mode", "sizes", "transactional"),
    [
        (Revision("main", "m3", down_revisions=("m2",)), TransactionMode.ALL, [4], [True]),
        (ALONE, TransactionMode.ALL, [2, 1, 1], [True, False, True]),
        (ENUM, TransactionMode.ALL, [3, 1], [True, True]),
        (
            Revision("main", "m3", down_revisions=("m2",)),
            TransactionMode.PER_REVISION,
            [1, 1, 1, 1],
            [True] * 4,
        ),
    ],
)
def test_segments_end_where_a_transaction_cannot_go_on(
    third: Revision, transaction_mode: TransactionMode, sizes: list[int], transactional: list[bool]
) -> None:
    trees = combined_graph(M1, M2, third, AFTER)
    plan = plan_upgrade(trees, EMPTY, everything(trees), transaction_mode)
    assert [len(segment.actions) for segment in plan.segments] == sizes
    assert [segment.transactional for segment in plan.segments] == transactional
    assert all(segment.end_reason for segment in plan.segments[:-1])
    assert plan.segments[-1].end_reason == ""


def test_no_steps_no_segments() -> None:
    assert plan_upgrade(combined_graph(M1, M2), EMPTY, {}).segments == ()
