"""Revisions whose files differ from those that were applied, by the checksums in the journal."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate.core.revisions import Graph, Revision
from circle_migrate.errors import Refused

if TYPE_CHECKING:
    from circle_migrate.run import Run


class EditedRevision(Refused):
    """An applied revision's file was changed afterwards."""

    code = "edited-revision"


def edited(
    graph: Graph, current: tuple[str, ...], checksums: Mapping[str, tuple[str, str]]
) -> list[tuple[Revision, str]]:
    """The applied revisions whose file has changed since, each with a diff from then to now."""
    applied = graph.ancestors(key for key in current if key in graph)
    return [
        (graph[key], _diff(graph[key], checksums[key][1]))
        for key in graph.sorted(applied & checksums.keys())
        if checksums[key][0] != graph[key].checksum
    ]


def _diff(revision: Revision, source: str) -> str:
    now = Path(revision.path).read_bytes().replace(b"\r\n", b"\n").decode("utf-8", "replace")
    lines = difflib.unified_diff(
        source.splitlines(), now.splitlines(), "as applied", Path(revision.path).name, lineterm="", n=1
    )
    return "\n".join(lines)


async def refuse_edited(run: Run) -> None:
    """Raise `EditedRevision` where an applied revision's file has changed, with the diff."""
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        if not await journal.exists(driver):
            continue
        graph = run.deployment.forest.graphs[name]
        for revision, diff in edited(graph, run.states[name].current, await journal.checksums(driver)):
            raise refusal(revision, diff)


def refusal(revision: Revision, diff: str) -> EditedRevision:
    """The error for a revision whose file has changed since it was applied."""
    return EditedRevision(
        f"{revision.database}: revision {revision.id} was edited after it was applied",
        database=revision.database,
        location=revision.location,
        detail=diff,
        state="nothing was changed",
        hint="restore the file and write a new revision, or add --allow-edited",
    )
