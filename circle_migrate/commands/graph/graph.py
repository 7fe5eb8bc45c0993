"""Revision trees and tables as diagrams: `graph`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.commands.graph.drawing import Diagram, DiagramResult
from circle_migrate.commands.graph.format import DiagramFormat
from circle_migrate.commands.graph.writer import write
from circle_migrate.core.atomic_write import replace_file
from circle_migrate.core.errors import UsageError
from circle_migrate.diff.side import Source
from circle_migrate.postgres.deployment import Current, Deployment

if TYPE_CHECKING:
    from circle_migrate.postgres.catalog.snapshot import Snapshot

_SUFFIXES = {
    ".mmd": DiagramFormat.MERMAID,
    ".mermaid": DiagramFormat.MERMAID,
    ".dot": DiagramFormat.DOT,
    ".gv": DiagramFormat.DOT,
    ".svg": DiagramFormat.SVG,
}


def form_of(asked: DiagramFormat | None, file: Path | None) -> DiagramFormat:
    """The form asked for, else the one the file's suffix stands for, else Mermaid.

    Raises `UsageError` for a suffix that stands for none, so that nothing is asked or written in vain.
    """
    if asked is not None or file is None:
        return asked or DiagramFormat.MERMAID
    if file.suffix not in _SUFFIXES:
        raise UsageError(
            f"{file} does not say how to draw",
            hint="name it .mmd, .dot or .svg, or say --as mermaid, dot or svg",
        )
    return _SUFFIXES[file.suffix]


def revisions(deployment: Deployment, span: str | None = None, at: Current | None = None) -> Diagram:
    """The trees, all or those of a span `FROM:TO`; `at` marks the current revisions.

    Raises `UsageError` for a bad span.
    """
    from circle_migrate.commands.graph.revision_diagram import revision_trees
    from circle_migrate.commands.history import history

    return revision_trees(deployment.forest, history(deployment, span, at))


async def entities(deployment: Deployment, source: Source = Source.MODELS) -> Diagram:
    """The tables of each database: by its models, at the heads of its tree, or as they are.

    Raises what reading a live database or making a scratch one raises.
    """
    from circle_migrate.commands.graph.entity_diagram import entity_diagram

    if source is Source.LIVE:
        return entity_diagram([await _live(deployment, name) for name in deployment.selected])
    return entity_diagram(await _expected(deployment, source))


async def _live(deployment: Deployment, name: str) -> Snapshot:
    from circle_migrate.postgres.catalog.read_live import read_live_catalog

    return await read_live_catalog(deployment.databases[name])


async def _expected(deployment: Deployment, source: Source) -> list[Snapshot]:
    from circle_migrate.diff.expected.expected import expected
    from circle_migrate.diff.expected.shipped import shipped_majors
    from circle_migrate.postgres.scratch.pool import ScratchServers

    snapshots = []
    async with ScratchServers(deployment) as servers:
        for name in deployment.selected:
            database = deployment.databases[name]
            heads = database.graph.effective_heads if source is Source.REVISIONS else None
            # Tables look the same in every version: whichever is at hand will do.
            shipped = shipped_majors(database, heads) if heads is not None else ()
            major = max(shipped, default=None) or (await servers.majors(name) or (0,))[0]
            snapshots.append((await expected(deployment, name, heads, major, servers=servers)).snapshot)
    return snapshots


def drawn(drawing: Diagram, form: DiagramFormat, file: Path | None = None) -> DiagramResult:
    """The drawing as text, saved where a file is named. Raises `UsageError` where it cannot be written."""
    text = write(drawing, form)
    if file is not None:
        try:
            replace_file(file, text.encode(), mode=0o666)
        except OSError as error:
            raise UsageError(f"{file} cannot be written", detail=error.strerror) from error
    return DiagramResult(
        "graph", drawing, form, text, str(file) if file else None, _notes(drawing, form, text)
    )


def _notes(drawing: Diagram, form: DiagramFormat, text: str) -> tuple[str, ...]:
    if form is not DiagramFormat.MERMAID:
        return ()
    from circle_migrate.commands.graph.mermaid import MOST_CHARACTERS, MOST_EDGES, too_large

    if not too_large(text, drawing):
        return ()
    limits = f"{MOST_EDGES} lines and {MOST_CHARACTERS:,} characters"
    return (f"Mermaid draws up to {limits} by default, and this is more: take FROM:TO, --database or SVG",)
