"""Determine the parents, id and label of a new revision."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.diff.autogenerate.revision_file import RevisionFile
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.naming import ensure_id, ensure_label


@dataclass(frozen=True, slots=True)
class Placement:
    """The position of a new revision in the graph; by default it follows the only head."""

    head: str | None = None
    splice: bool = False
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    id: str | None = None


def new_names(graph: Graph, position: Placement) -> tuple[str, tuple[str, ...]]:
    """Return the id and labels of a new revision. Raises `UsageError` if they are invalid or in use."""
    if position.id is not None:
        ensure_id(graph, position.id)
    if position.label is not None:
        ensure_label(graph, position.label)
        if position.label == position.id:
            raise UsageError(f"{position.id} cannot be both the id and the label of a revision")
    return position.id or uuid.uuid4().hex[-12:], (position.label,) if position.label else ()


def new_revision(deployment: Deployment, name: str, message: str, position: Placement) -> RevisionFile:
    """Return an empty revision at this position.

    Raises `Refused` if it would create a second head without `splice`, `UsageError` for invalid names.
    """
    graph = deployment.graphs[name]
    if position.head is None:
        head = graph.head()
        down = (head,) if head else ()
    elif position.head == "base":
        down = ()
    else:
        down = (_find(graph, position.head),)
        if graph.successors[down[0]] and not position.splice:
            raise Refused(
                f"{down[0]} is not a head of {name}: the new revision would create another head",
                database=name,
                hint="To create a new branch, add --splice.",
            )
    key, labels = new_names(graph, position)
    depends_on = tuple(_find(graph, key) for key in position.depends_on)
    return RevisionFile(deployment.databases[name], message, down, key, labels, depends_on)


def _find(graph: Graph, name: str) -> str:
    """Return the id of a revision, which may be given with its database: `database@revision`."""
    return graph.find(name.removeprefix(f"{graph.database}@"))
