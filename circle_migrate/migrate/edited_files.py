"""Revisions whose files differ from those that were applied, by the checksums in the journal."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.journal import Journal
    from circle_migrate.migrate.run import MigrationRun


class EditedRevision(Refused):
    """The file of an applied revision was changed."""

    code = "edited-revision"


async def edited_revisions(
    graph: Graph, current: tuple[str, ...], journal: Journal, connection: asyncpg.Connection, digest: str
) -> list[tuple[Revision, str]]:
    """Return the applied revisions whose files have changed, with diffs; `digest` is the journal's."""
    if digest == graph.digest:
        return []
    checksums = await journal.checksums(connection)
    applied = graph.sorted(graph.ancestors(key for key in current if key in graph) & checksums.keys())
    edited = [graph[key] for key in applied if checksums[key] != graph[key].checksum]
    sources = await journal.sources(connection, [revision.id for revision in edited])
    return [(revision, _diff(revision, sources.get(revision.id, ""))) for revision in edited]


def _diff(revision: Revision, source: str) -> str:
    import difflib

    lines = source.splitlines(), revision.read_source().splitlines()
    name = PurePath(revision.path).name
    return "\n".join(difflib.unified_diff(*lines, "as applied", name, lineterm="", n=1))


async def ensure_not_edited(run: MigrationRun) -> None:
    """Raise `EditedRevision`, with a diff, where the file of an applied revision has changed."""
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        if run.states[name].journal_of is None:
            continue
        graph = run.deployment.forest.graphs[name]
        digest = await journal.digest(driver)
        for revision, diff in await edited_revisions(
            graph, run.states[name].current, journal, driver, digest
        ):
            raise edited_revision_error(revision, diff)


def edited_revision_error(revision: Revision, diff: str) -> EditedRevision:
    """Return the error for a revision whose file has changed since it was applied."""
    return EditedRevision(
        f"{revision.database}: revision {revision.id} was edited after it was applied",
        database=revision.database,
        location=revision.location,
        detail=diff,
        state="nothing was changed",
        hint="restore the file and write a new revision, or add --allow-edited",
    )
