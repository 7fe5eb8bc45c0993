"""The revision trees of all databases as one drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from circle_migrate.commands.graph.drawing import CURRENT, HEAD, Diagram, Edge, EdgeKind, Node, NodeKind
from circle_migrate.commands.listing_results import ListedRevision, RevisionList
from circle_migrate.revision_graph.forest import CombinedGraph
from circle_migrate.revision_graph.revision import Revision


def revision_trees(forest: CombinedGraph, listing: RevisionList) -> Diagram:
    """The listed revisions, oldest first, with what they follow, depend on and require.

    A revision outside the listing that one of them names is drawn faintly, so that a span shows where it was
    cut and a single database what it waits for in another.
    """
    listed = {
        listed_revision.revision.qualified: listed_revision
        for of_database in listing.listed.values()
        for listed_revision in reversed(of_database)
    }
    edges = tuple(edge for name in listed for edge in _edges(forest, name))
    named = dict.fromkeys(edge.source for edge in edges if edge.source not in listed)
    nodes = [_elsewhere(forest.revision(name)) for name in named] + [
        _node(listed_revision) for listed_revision in listed.values()
    ]
    used = {node.group for node in nodes}
    groups = tuple(name for name in forest.graphs if name in used)
    return Diagram(_title(listing.listed), groups, tuple(nodes), edges)


def _title(listed: Mapping[str, tuple[ListedRevision, ...]]) -> str:
    return "Revisions of " + " and ".join(listed)


def _node(listed: ListedRevision) -> Node:
    revision = listed.revision
    labels = (f"branch {', '.join(revision.labels)}",) if revision.labels else ()
    message = (revision.message,) if revision.message else ()
    marks = tuple(mark for mark in (HEAD, CURRENT) if mark in listed.marks)
    return Node(
        revision.qualified, revision.database, NodeKind.REVISION, revision.id, (*message, *labels), marks
    )


def _elsewhere(revision: Revision) -> Node:
    return Node(revision.qualified, revision.database, NodeKind.ELSEWHERE, revision.id)


def _edges(forest: CombinedGraph, name: str) -> Iterator[Edge]:
    revision = forest.revision(name)
    for parent in forest.graphs[revision.database].parents[revision.id]:
        link = EdgeKind.FOLLOWS if parent in revision.down_revisions else EdgeKind.DEPENDS
        yield Edge(f"{revision.database}@{parent}", name, link)
    for need in forest.requires.get(name, ()):
        yield Edge(need, name, EdgeKind.REQUIRES)
