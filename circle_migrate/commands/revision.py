"""Revision and merge: new revision files without a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.diff.autogenerate.position import Placement, new_names, new_revision
from circle_migrate.diff.autogenerate.result import RevisionFilesResult
from circle_migrate.diff.autogenerate.revision_file import RevisionFile, write
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph import target
from circle_migrate.revision_graph.graph import Graph


def revision(deployment: Deployment, message: str, position: Placement) -> RevisionFilesResult:
    """Write an empty revision for the one selected database. Raises `UsageError` where it is not one."""
    if len(deployment.selected) != 1:
        raise UsageError(
            "an empty revision belongs to one database",
            hint="say which with --database, or let --autogenerate find out",
        )
    return RevisionFilesResult(
        "revision", (write(new_revision(deployment, deployment.selected[0], message, position)),)
    )


def merge(
    deployment: Deployment, names: Sequence[str], message: str | None, position: Placement
) -> RevisionFilesResult:
    """Write a revision that joins heads: those named, else all of each selected database with several."""
    written, unchanged = [], []
    for name, graph in deployment.graphs.items():
        keys = _to_merge(deployment, graph, names)
        if len(keys) < 2:
            unchanged.append(name)
            continue
        text = message or f"merge {' and '.join(keys)}"
        key, labels = new_names(graph, position)
        written.append(write(RevisionFile(deployment.databases[name], text, keys, key, labels)))
    if names and not written:
        _refuse_unknown(deployment, names)
        raise UsageError("a merge needs two revisions of one database", hint="see `circle-migrate heads`")
    return RevisionFilesResult("merge", tuple(written), tuple(unchanged))


def _to_merge(deployment: Deployment, graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return graph.heads
    found = dict.fromkeys(key for name in names if (key := _known(deployment, graph, name)) is not None)
    for key in found:
        above = [other for other in found if other != key and key in graph.ancestors([other])]
        if above:
            raise Refused(
                f"{above[0]} follows {key} already: there is nothing to merge",
                database=graph.database,
                state="nothing was written",
                hint="see `circle-migrate heads`",
            )
    return tuple(found)


def _known(deployment: Deployment, graph: Graph, name: str) -> str | None:
    """The id a name stands for in this tree; None where it is another database's."""
    database, at, key = name.partition("@")
    if at and database in deployment.databases:
        return graph.find(key) if database == graph.database else None
    try:
        return graph.find(name)
    except UsageError:
        if len(deployment.selected) == 1:
            raise
        return None


def _refuse_unknown(deployment: Deployment, names: Sequence[str]) -> None:
    for name in names:
        target.assign([name], deployment.graphs)
