"""Revisions whose files differ from those that were applied, by the checksums in the journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Refused
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.journal import Journal
    from circle_migrate.migrate.run import MigrationRun


class EditedRevision(Refused):
    """An applied revision's file was changed afterwards."""

    code = "edited-revision"


async def edited_revisions(
    graph: Graph, current: tuple[str, ...], journal: Journal, connection: asyncpg.Connection, files: str
) -> list[tuple[Revision, str]]:
    """The applied revisions whose file has changed since, each with a diff from then to now.

    Where the journal holds exactly the files that are here, its digest, `files`, says so.
    """
    if files == graph.digest:
        return []
    then = await journal.checksums(connection)
    applied = graph.ancestors(key for key in current if key in graph)
    changed = [graph[key] for key in graph.sorted(applied & then.keys()) if then[key] != graph[key].checksum]
    texts = await journal.sources(connection, [revision.id for revision in changed])
    return [(revision, _diff(revision, texts.get(revision.id, ""))) for revision in changed]


def _diff(revision: Revision, source: str) -> str:
    import difflib

    now = Path(revision.path).read_bytes().replace(b"\r\n", b"\n").decode("utf-8", "replace")
    lines = difflib.unified_diff(
        source.splitlines(), now.splitlines(), "as applied", Path(revision.path).name, lineterm="", n=1
    )
    return "\n".join(lines)


async def ensure_not_edited(run: MigrationRun) -> None:
    """Raise `EditedRevision` where an applied revision's file has changed, with the diff."""
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        if not await journal.exists(driver):
            continue
        graph = run.deployment.forest.graphs[name]
        files = await journal.digest(driver)
        for revision, diff in await edited_revisions(graph, run.states[name].current, journal, driver, files):
            raise edited_revision_error(revision, diff)


def edited_revision_error(revision: Revision, diff: str) -> EditedRevision:
    """The error for a revision whose file has changed since it was applied."""
    return EditedRevision(
        f"{revision.database}: revision {revision.id} was edited after it was applied",
        database=revision.database,
        location=revision.location,
        detail=diff,
        state="nothing was changed",
        hint="restore the file and write a new revision, or add --allow-edited",
    )
