"""`revision` without `--autogenerate`, and `merge`: write new revision files."""

from collections.abc import Sequence

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.diff.autogenerate.alembic_directives import new_drafts
from circle_migrate.diff.autogenerate.placement import Placement, new_names
from circle_migrate.diff.autogenerate.revision_file import RevisionFile, RevisionFilesResult, write_all
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph import target
from circle_migrate.revision_graph.graph import Graph


def revision(deployment: Deployment, message: str, position: Placement) -> RevisionFilesResult:
    """Write an empty revision for the selected database. Raises `UsageError` if several are selected.

    With `revision_environment`, `process-revision-directives` changes it, as under Alembic.
    """
    if len(deployment.selected) != 1:
        raise UsageError(
            "an empty revision belongs to one database",
            hint="name the database with --database, or use --autogenerate",
        )
    (name,) = deployment.selected
    drafts = new_drafts(deployment, name, message, position)
    files, notes = write_all(drafts)
    return RevisionFilesResult("revision", files, () if drafts else (name,), notes)


def merge(
    deployment: Deployment, names: Sequence[str], message: str | None, position: Placement
) -> RevisionFilesResult:
    """Write revisions that merge the named heads, else all heads of each selected database."""
    drafts, unchanged = [], []
    for name, graph in deployment.graphs.items():
        keys = _heads_to_merge(deployment, graph, names)
        if len(keys) < 2:
            unchanged.append(name)
            continue
        text = message or f"merge {' and '.join(keys)}"
        key, labels = new_names(graph, position)
        drafts.append(RevisionFile(deployment.databases[name], text, keys, key, labels))
    if names and not drafts:
        for name in names:
            target.assign([name], deployment.graphs)  # raises for an unknown name
        raise UsageError("a merge needs two revisions of one database", hint="circle-migrate heads")
    files, notes = write_all(drafts)
    return RevisionFilesResult("merge", files, tuple(unchanged), notes)


def _heads_to_merge(deployment: Deployment, graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return graph.heads
    keys = dict.fromkeys(key for name in names if (key := _find(deployment, graph, name)) is not None)
    for key in keys:
        if len(keys) > 1 and key not in graph.heads:
            successors = ", ".join(graph.successors[key])
            raise Refused(
                f"{key} is not a head of {graph.database}: it is followed by {successors}",
                database=graph.database,
                location=graph[key].location,
                hint=f"its heads are: {', '.join(graph.heads)}",
            )
    return tuple(keys)


def _find(deployment: Deployment, graph: Graph, name: str) -> str | None:
    """Return the id of a named revision of this tree; None if it belongs to another database."""
    database, separator, key = name.partition("@")
    if separator and database in deployment.databases:
        return graph.find(key) if database == graph.database else None
    try:
        return graph.find(name)
    except UsageError:
        if len(deployment.selected) == 1:
            raise
        return None
