"""The graph agrees with Alembic's RevisionMap on random trees with branches, merges and dependencies."""

from __future__ import annotations

import warnings
from random import Random
from time import process_time

import pytest
from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionError, RevisionMap
from hypothesis import given, settings
from hypothesis import strategies as st

from circle_migrate.core.errors import MigrateError
from circle_migrate.revision_graph import target as targets
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.plan import plan_downgrade, plan_upgrade
from circle_migrate.revision_graph.revision import Revision

Spec = list[tuple[str, tuple[str, ...], tuple[str, ...]]]

# Stricter than Alembic on purpose: "-1" with several current revisions, and upgrades to base.
STRICTER = ("is ambiguous", "is below every revision")
LABEL = "label"


@st.composite
def trees(draw: st.DrawFn) -> Spec:
    spec: Spec = []
    for number in range(draw(st.integers(1, 12))):
        names = [key for key, *_ in spec]
        down = draw(st.lists(st.sampled_from(names[-5:]), max_size=2, unique=True)) if names else []
        others = [name for name in names if name not in down]
        depends = draw(st.lists(st.sampled_from(others), max_size=2, unique=True)) if others else []
        spec.append((f"r{number:03d}x", tuple(down), tuple(depends)))
    return spec


def both(spec: Spec, labelled: str = "") -> tuple[Graph, RevisionMap]:
    labels = {labelled: (LABEL,)}
    ours = Graph(
        "main",
        [
            Revision(
                "main",
                key,
                path=f"{number}.py",
                down_revisions=down,
                depends_on=deps,
                labels=labels.get(key, ()),
            )
            for number, (key, down, deps) in enumerate(spec)
        ],
    )
    theirs = RevisionMap(
        lambda: [
            AlembicRevision(key, down or None, dependencies=deps or None, branch_labels=labels.get(key))
            for key, down, deps in spec
        ]
    )
    return ours, theirs


def alembics_answer(theirs: RevisionMap, current: tuple[str, ...], text: str, *, up: bool) -> set[str] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if up:
                revisions = theirs.iterate_revisions(text, current, implicit_base=True)
            else:
                revisions = theirs.iterate_revisions(current, text, select_for_downgrade=True)
            return {revision.revision for revision in revisions}
    except (RevisionError, AssertionError):
        return None


def our_answer(ours: Graph, current: tuple[str, ...], text: str, *, up: bool) -> set[str]:
    target = targets.parse(text, ["main"])
    if up:
        return targets.upgrade_set(ours, current, target) - ours.ancestors(current)
    return targets.downgrade_set(ours, current, target)


@given(trees())
def test_heads_are_the_same(spec: Spec) -> None:
    ours, theirs = both(spec)
    assert set(ours.heads) == set(theirs.heads)
    assert set(ours.effective_heads) == set(theirs._real_heads)


@settings(max_examples=120)
@given(st.data(), trees(), st.booleans())
def test_targets_mean_the_same(data: st.DataObject, spec: Spec, up: bool) -> None:
    ours, theirs = both(spec)
    names = [key for key, *_ in spec]
    current = ours.version_rows(ours.ancestors(data.draw(st.lists(st.sampled_from(names), max_size=2))))
    name = data.draw(st.sampled_from(names))
    words = ["head", "heads", "+1", "+2"] if up else ["base", "-1", "-2"]
    text = data.draw(st.sampled_from([*words, name, name[:4], f"{name}+1", f"{name}-1"]))
    expected = alembics_answer(theirs, current, text, up=up)
    try:
        answer: set[str] | str = our_answer(ours, current, text, up=up)
    except MigrateError as error:
        answer = error.message
    if isinstance(answer, str):
        assert expected is None or any(words in answer for words in STRICTER), answer
    else:
        # Alembic refuses a downgrade to what is applied only as a dependency; there is nothing to do.
        assert answer == (expected or set())


BRANCH_TARGETS = {
    True: ["@head", "@heads", "@+1", "@+2", "@{}", "@head-1"],
    False: ["@base", "@-1", "@-2", "@{}"],
}
# Of a branch without an applied revision, Alembic undoes what other branches share with it; we refuse.
STRICTER_IN_BRANCHES = (*STRICTER, "main has none")


@settings(max_examples=120)
@given(st.data(), trees(), st.booleans())
def test_targets_in_branches_mean_the_same(data: st.DataObject, spec: Spec, up: bool) -> None:
    names = [key for key, *_ in spec]
    ours, theirs = both(spec, data.draw(st.sampled_from(names)))
    current = ours.version_rows(ours.ancestors(data.draw(st.lists(st.sampled_from(names), max_size=2))))
    branch = data.draw(st.sampled_from([LABEL, *names, names[0][:4]]))
    text = branch + data.draw(st.sampled_from(BRANCH_TARGETS[up])).format(data.draw(st.sampled_from(names)))
    expected = alembics_answer(theirs, current, text, up=up)
    try:
        answer: set[str] | str = our_answer(ours, current, text, up=up)
    except MigrateError as error:
        answer = error.message
    if isinstance(answer, str):
        assert expected is None or any(words in answer for words in STRICTER_IN_BRANCHES), answer
    elif expected is None:  # it refuses -1 if other branches begin there, and @heads with their dependencies
        assert not answer or "@-" in text or "@heads" in text
    else:  # a step below the first revision of a branch undoes that one, not all that a merge joins with it
        assert answer == expected or ("@-" in text and answer < expected)


SHARED: Spec = [("r0", (), ()), ("r1", ("r0",), ()), ("r2", ("r0",), ()), ("r3", (), ("r1",))]
BRANCH_CASES: list[tuple[str, str, bool, set[str] | str]] = [
    ("", "r1@head", True, {"r0", "r1"}),
    ("r2", "label@-1", False, "label@-1 means 1 step; main has none"),
    ("r1", "label@-1", False, {"r1"}),
    ("r0", "label@r2", True, "r2 is not a revision of the branch label"),
    ("r1", "r3@+1", True, {"r3"}),
]


@pytest.mark.parametrize(("current", "text", "up", "expected"), BRANCH_CASES)
def test_target_in_a_branch(current: str, text: str, up: bool, expected: set[str] | str) -> None:
    ours, _ = both(SHARED, "r1")
    if isinstance(expected, str):
        with pytest.raises(MigrateError, match=expected):
            our_answer(ours, (current,), text, up=up)
    else:
        assert our_answer(ours, tuple(filter(None, [current])), text, up=up) == expected


@given(st.data(), trees())
def test_version_rows_are_the_same_step_by_step(data: st.DataObject, spec: Spec) -> None:
    graph, _ = both(spec)
    order = graph.sorted(graph.ancestors(data.draw(st.lists(st.sampled_from([key for key, *_ in spec])))))
    tips: tuple[str, ...] = ()
    for number, key in enumerate(order):
        tips = graph.version_rows_after_upgrade(tips, key)
        assert tips == graph.version_rows(order[: number + 1])
    for number, key in reversed(list(enumerate(order))):
        tips = graph.version_rows_after_downgrade(tips, key)
        assert tips == graph.version_rows(order[:number])


@settings(max_examples=200)
@given(st.data(), trees(), st.randoms(use_true_random=False))
def test_order_is_alembics_whatever_the_files_are_called(
    data: st.DataObject, spec: Spec, random: Random
) -> None:
    ids = [key for key, *_ in spec]
    renamed = dict(zip(ids, random.sample(ids, len(ids)), strict=True))  # ids say nothing about the age
    spec = [
        (renamed[key], tuple(renamed[item] for item in down), tuple(renamed[dep] for dep in deps))
        for key, down, deps in spec
    ]
    _, theirs = both(sorted(spec))
    for key, _, deps in spec:
        revision = theirs.get_revision(key)
        assert revision is not None
        needed = set(revision._normalized_resolved_dependencies)  # a tuple in the order of hashes
        revision._normalized_resolved_dependencies = tuple(dep for dep in deps if dep in needed)
    ours, _ = both(random.sample(spec, len(spec)))
    combined_graph = CombinedGraph({"main": ours})
    current = ours.version_rows(ours.ancestors(data.draw(st.lists(st.sampled_from(ids), max_size=2))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (data.draw(st.sampled_from(ids)), "heads"):
            try:
                expected = list(theirs.iterate_revisions(name, current, implicit_base=True))[::-1]
            except RevisionError:
                continue
            wanted = {"main": targets.upgrade_set(ours, current, targets.parse(name, ["main"]))}
            steps = plan_upgrade(combined_graph, {"main": current}, wanted).steps("main")
            assert [step.revision.id for step in steps] == [item.revision for item in expected]
        for name in (data.draw(st.sampled_from(ids)), "base"):
            try:
                expected = list(theirs.iterate_revisions(current, name, select_for_downgrade=True))
            except (RevisionError, AssertionError):
                continue
            undone = {item.revision for item in expected}
            steps = plan_downgrade(combined_graph, {"main": current}, {"main": undone}).steps("main")
            assert [step.revision.id for step in steps] == [item.revision for item in expected]


def test_order_of_a_wide_tree_takes_no_time() -> None:
    star = [("a", (), ()), *((f"b{number}", ("a",), ()) for number in range(3000))]
    pairs = [
        (f"{app}{number}", (f"{app}{number - 1}",) if number else (), ("a",))
        for app in "cd"
        for number in range(1500)
    ]
    start = process_time()
    ours = Graph(
        "main",
        [Revision("main", key, down_revisions=down, depends_on=deps) for key, down, deps in star + pairs],
    )
    assert ours.sorted(ours.revisions)[0] == "a"
    assert process_time() - start < 2


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([("a", ("b",), ()), ("b", ("a",), ())], "cycle"),
        ([("a", ("gone",), ())], "which no revision file has"),
        ([("a", (), ()), ("a", (), ())], "exists twice"),
    ],
)
def test_broken_graph_is_refused(spec: Spec, words: str) -> None:
    with pytest.raises(MigrateError, match=words) as caught:
        both(spec)
    assert caught.value.location
    assert caught.value.hint
