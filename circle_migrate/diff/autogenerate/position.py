"""Where new revision files go in a tree: after a head, at another place, or joining heads."""

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
    """Where in the tree a new revision goes, where that is not simply after the head."""

    head: str | None = None
    splice: bool = False
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    id: str | None = None


def new_names(graph: Graph, position: Placement) -> tuple[str, tuple[str, ...]]:
    """The new revision's id and labels. Raises `UsageError` for those it cannot have."""
    if position.id is not None:
        ensure_id(graph, position.id)
    if position.label is not None:
        ensure_label(graph, position.label)
        if position.label == position.id:
            raise UsageError(f"{position.id!r} cannot be both the id and the label of a revision")
    return position.id or uuid.uuid4().hex[-12:], (position.label,) if position.label else ()


def new_revision(deployment: Deployment, name: str, message: str, position: Placement) -> RevisionFile:
    """An empty revision of a database at that position.

    Raises `Refused` where it would make a second head unasked, `UsageError` for names it cannot have.
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
                f"{down[0]} is not a head of {name}: this would make a second one",
                database=name,
                hint="add --splice if a new branch is wanted",
            )
    key, labels = new_names(graph, position)
    depends_on = tuple(_find(graph, each) for each in position.depends_on)
    return RevisionFile(deployment.databases[name], message, down, key, labels, depends_on)


def _find(graph: Graph, name: str) -> str:
    """The id a name stands for, which may be written with its database in front."""
    return graph.find(name.removeprefix(f"{graph.database}@"))
