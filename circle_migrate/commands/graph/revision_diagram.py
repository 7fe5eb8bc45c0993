"""Diagrams of revision trees."""

from __future__ import annotations

from collections.abc import Iterator

from circle_migrate.commands.graph.drawing import CURRENT, HEAD, Diagram, Edge, EdgeKind, Node, NodeKind
from circle_migrate.commands.listing_results import ListedRevision, RevisionList
from circle_migrate.revision_graph.forest import CombinedGraph
from circle_migrate.revision_graph.revision import Revision


def revision_trees(forest: CombinedGraph, listing: RevisionList) -> Diagram:
    """Return the listed revisions, oldest first, with their parents, dependencies and requirements.

    Revisions outside the listing that a listed revision names are nodes of the kind `elsewhere`.
    """
    listed = {
        revision.revision.qualified: revision
        for revisions in listing.listed.values()
        for revision in reversed(revisions)
    }
    edges = tuple(edge for name in listed for edge in _edges(forest, name))
    outside = dict.fromkeys(edge.source for edge in edges if edge.source not in listed)
    nodes = (*(_elsewhere(forest.revision(name)) for name in outside), *map(_node, listed.values()))
    groups = tuple(name for name in forest.graphs if any(node.group == name for node in nodes))
    return Diagram("Revisions of " + " and ".join(listing.listed), groups, nodes, edges)


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
