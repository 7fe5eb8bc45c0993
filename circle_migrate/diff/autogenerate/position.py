"""Where new revision files go in a tree: after a head, at another place, or joining heads."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from circle_migrate.commands.listing_results import Written
from circle_migrate.core.errors import Refused, UsageError
from circle_migrate.diff.autogenerate.revision_file import Draft, write
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph import target
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.naming import refuse_id, refuse_label


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the tree a new revision goes, where that is not simply after the head."""

    head: str | None = None
    splice: bool = False
    label: str | None = None
    depends_on: tuple[str, ...] = ()
    id: str | None = None


def revision(deployment: Deployment, message: str, position: Position) -> Written:
    """Write an empty revision for the one selected database. Raises `UsageError` where it is not one."""
    if len(deployment.selected) != 1:
        raise UsageError(
            "an empty revision belongs to one database",
            hint="say which with --database, or let --autogenerate find out",
        )
    return Written("revision", (write(drafted(deployment, deployment.selected[0], message, position)),))


def merge(deployment: Deployment, names: Sequence[str], message: str | None, position: Position) -> Written:
    """Write a revision that joins heads: those named, else all of each selected database with several."""
    written, unchanged = [], []
    for name, graph in deployment.graphs.items():
        keys = _to_merge(deployment, graph, names)
        if len(keys) < 2:
            unchanged.append(name)
            continue
        text = message or f"merge {' and '.join(keys)}"
        key, labels = _names(graph, position)
        written.append(write(Draft(deployment.databases[name], text, keys, key, labels)))
    if names and not written:
        _refuse_unknown(deployment, names)
        raise UsageError("a merge needs two revisions of one database", hint="see `circle-migrate heads`")
    return Written("merge", tuple(written), tuple(unchanged))


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


def _names(graph: Graph, position: Position) -> tuple[str, tuple[str, ...]]:
    """The new revision's id and labels. Raises `UsageError` for those it cannot have."""
    if position.id is not None:
        refuse_id(graph, position.id)
    if position.label is not None:
        refuse_label(graph, position.label)
        if position.label == position.id:
            raise UsageError(f"{position.id!r} cannot be both the id and the label of a revision")
    return position.id or uuid.uuid4().hex[-12:], (position.label,) if position.label else ()


def drafted(deployment: Deployment, name: str, message: str, position: Position) -> Draft:
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
    key, labels = _names(graph, position)
    depends_on = tuple(_find(graph, each) for each in position.depends_on)
    return Draft(deployment.databases[name], message, down, key, labels, depends_on)


def _find(graph: Graph, name: str) -> str:
    """The id a name stands for, which may be written with its database in front."""
    return graph.find(name.removeprefix(f"{graph.database}@"))
