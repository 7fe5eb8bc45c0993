"""`graph`: diagrams of revision trees and tables."""

from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path

from circle_migrate.commands.graph import drawing
from circle_migrate.commands.graph.drawing import Diagram, DiagramResult, Edge, EdgeKind, Node, NodeKind
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.commands.history import ListedRevision, RevisionList
from circle_migrate.core.atomic_write import write_text
from circle_migrate.core.errors import UsageError
from circle_migrate.diff.side import Source
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.combined_graph import CombinedGraph

_SUFFIXES = {
    ".mmd": DiagramFormat.MERMAID,
    ".mermaid": DiagramFormat.MERMAID,
    ".dot": DiagramFormat.DOT,
    ".gv": DiagramFormat.DOT,
    ".svg": DiagramFormat.SVG,
}


def resolve_format(given: DiagramFormat | None, file: Path | None) -> DiagramFormat:
    """Return the given format, else that of the file's suffix, which must be known, else Mermaid."""
    if given is not None or file is None:
        return given or DiagramFormat.MERMAID
    if file.suffix not in _SUFFIXES:
        raise UsageError(
            f"the suffix of {file} is not that of a diagram format",
            hint="use .mmd, .dot or .svg, or add --as mermaid, dot or svg",
        )
    return _SUFFIXES[file.suffix]


async def entities(deployment: Deployment, source: Source = Source.MODELS) -> Diagram:
    """Return the tables of each database: of its models, at the heads of its tree, or as they are."""
    from circle_migrate.commands.graph.entity_diagram import entity_diagram
    from circle_migrate.postgres.catalog.read_live import read_live_catalog

    if source is not Source.LIVE:
        return entity_diagram(await _expected_catalogs(deployment, source))
    databases = [deployment.databases[name] for name in deployment.selected]
    return entity_diagram([await read_live_catalog(database) for database in databases])


async def _expected_catalogs(deployment: Deployment, source: Source) -> list[Snapshot]:
    from circle_migrate.diff.expected.expected import expected
    from circle_migrate.diff.expected.snapshot_file import shipped_majors
    from circle_migrate.postgres.scratch.pool import ScratchServers

    snapshots = []
    async with ScratchServers(deployment) as servers:
        for name in deployment.selected:
            database = deployment.databases[name]
            heads = database.graph.effective_heads if source is Source.REVISIONS else None
            # Tables are the same in every server version.
            shipped_versions = shipped_majors(database, heads) if heads is not None else ()
            major = max(shipped_versions, default=None) or (await servers.majors(name) or (0,))[0]
            snapshots.append((await expected(deployment, name, heads, major, servers=servers)).snapshot)
    return snapshots


def write_diagram(diagram: Diagram, diagram_format: DiagramFormat, file: Path | None = None) -> DiagramResult:
    """Return the diagram as text, saved to the file. Raises `UsageError` if it cannot be written."""
    module = "mermaid" if diagram_format is DiagramFormat.MERMAID else "dot"
    writer = getattr(import_module(f"circle_migrate.commands.graph.{module}"), str(diagram_format))
    text = str(writer(diagram))
    if file is not None:
        write_text(file, text)
    notes = _notes(diagram, text) if diagram_format is DiagramFormat.MERMAID else ()
    return DiagramResult("graph", diagram, diagram_format, text, str(file) if file else None, notes)


def _notes(diagram: Diagram, text: str) -> tuple[str, ...]:
    from circle_migrate.commands.graph.mermaid import MAX_CHARACTERS, MAX_EDGES

    if len(text) <= MAX_CHARACTERS and len(diagram.edges) <= MAX_EDGES:
        return ()
    limits = f"{MAX_EDGES} edges and {MAX_CHARACTERS:,} characters"
    return (f"the diagram exceeds Mermaid's default limits of {limits}: use FROM:TO, --database or SVG",)


def revision_trees(combined_graph: CombinedGraph, listing: RevisionList) -> Diagram:
    """Return the listed revisions, oldest first, with their parents, dependencies and requirements.

    Revisions outside the listing that a listed revision names are nodes of the kind `elsewhere`.
    """
    entries = [entry for entries in listing.revisions.values() for entry in reversed(entries)]
    by_name = {entry.revision.qualified: entry for entry in entries}
    edges = tuple(edge for name in by_name for edge in _edges(combined_graph, name, by_name))
    outside = dict.fromkeys(edge.source for edge in edges if edge.source not in by_name)
    revisions = (combined_graph.revision(name) for name in outside)
    elsewhere = (
        Node(revision.qualified, revision.database, NodeKind.ELSEWHERE, revision.id) for revision in revisions
    )
    nodes = (*elsewhere, *map(_node, by_name.values()))
    groups = tuple(name for name in combined_graph.graphs if any(node.group == name for node in nodes))
    return Diagram("Revisions of " + " and ".join(listing.revisions), groups, nodes, edges)


def _node(entry: ListedRevision) -> Node:
    revision = entry.revision
    labels = (f"branch {', '.join(revision.labels)}",) if revision.labels else ()
    message = (revision.message,) if revision.message else ()
    marks = tuple(mark for mark in (drawing.HEAD, drawing.CURRENT) if mark in entry.marks)
    return Node(
        revision.qualified, revision.database, NodeKind.REVISION, revision.id, (*message, *labels), marks
    )


def _edges(combined_graph: CombinedGraph, name: str, listed: Collection[str]) -> Iterator[Edge]:
    revision = combined_graph.revision(name)
    parents = combined_graph.graphs[revision.database].parents[revision.id]
    if revision.replaces and f"{revision.database}@{parents[0]}" not in listed:
        parents = revision.down_revisions  # of a squashed revision without the replaced ones
    for parent in parents:
        follows = (*revision.down_revisions, *revision.replaces)
        link = EdgeKind.FOLLOWS if parent in follows else EdgeKind.DEPENDS
        yield Edge(f"{revision.database}@{parent}", name, link)
    for need in combined_graph.requires.get(name, ()):
        yield Edge(need, name, EdgeKind.REQUIRES)
