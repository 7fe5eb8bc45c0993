"""The packaged revision files, read as the package reads them: one line each, declared for what they do."""

from __future__ import annotations

from pathlib import Path

import pytest

import circle_migrate.revisions
from circle_migrate.revision_graph.parse_file import read_doc
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.revision_cache import read_graph

FOLDER = Path(circle_migrate.revisions.__file__).parent
GRAPHS = {name: read_graph(name, [FOLDER / name]) for name in ("main", "credentials")}
REVISIONS = [
    pytest.param(revision, id=revision.qualified)
    for graph in GRAPHS.values()
    for revision in graph.revisions.values()
]


@pytest.mark.parametrize("name", GRAPHS)
def test_tree_is_one_line(name: str) -> None:
    graph = GRAPHS[name]
    assert [len(graph[key].down_revisions) for key in graph.order] == [0] + [1] * (len(graph) - 1)
    assert all(len(after) <= 1 for after in graph.successors.values())


def test_credentials_begin_after_users() -> None:
    requires = {revision.id: revision.requires for revision in GRAPHS["credentials"].revisions.values()}
    assert requires.pop("1e978f7e8aa5") == ("main@dca7825748db",)
    assert not any(requires.values())


@pytest.mark.parametrize("revision", REVISIONS)
def test_file_says_what_it_is_and_why_it_is_safe(revision: Revision) -> None:
    assert Path(revision.path).name.startswith(f"{revision.id}_")
    message, blank, reason = [*read_doc(revision).split("\n", 2), "", ""][:3]
    assert message
    assert not message.endswith(".")
    assert not blank
    assert "Safe" in reason


@pytest.mark.parametrize("revision", REVISIONS)
def test_revision_goes_both_ways_and_declares_what_it_needs(revision: Revision) -> None:
    assert revision.has_downgrade
    assert revision.irreversible is None
    assert "not declared" not in (revision.non_transactional_reason or "")
