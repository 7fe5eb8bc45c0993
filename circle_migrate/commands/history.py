"""The trees as lists: `current`, `history`, `heads`, `branches` and `show`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from circle_migrate.commands.listing_results import (
    CurrentResult,
    DatabasePosition,
    ListedRevision,
    RevisionList,
)
from circle_migrate.core.errors import MigrateError, UsageError
from circle_migrate.migrate.guards import ensure_not_in_doubt
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision


async def current(deployment: Deployment) -> CurrentResult:
    """Where each database stands. A database that cannot be asked is part of the answer."""
    survey = await deployment.states_or_errors()
    standings = []
    for name, state in survey.items():
        graph = deployment.forest.graphs[name]
        if isinstance(state, MigrateError):
            standings.append(DatabasePosition(name, heads=graph.heads, error=state))
        else:
            standings.append(_standing(deployment, graph, state))
    return CurrentResult("current", tuple(standings))


def _standing(deployment: Deployment, graph: Graph, state: State) -> DatabasePosition:
    address = deployment.databases[graph.database].address.display()
    try:
        verify_identity(deployment, {graph.database: state})
        ensure_not_in_doubt({graph.database: state})
    except MigrateError as error:
        strangers = tuple(graph.revisions.get(key, Revision(graph.database, key)) for key in state.current)
        return DatabasePosition(graph.database, strangers, graph.heads, address=address, error=error)
    at = tuple(graph[key] for key in state.current)
    pending = len(graph.pending(state.current))
    return DatabasePosition(graph.database, at, graph.heads, pending, address)


def history(deployment: Deployment, span: str | None = None, at: Current | None = None) -> RevisionList:
    """The revisions, newest first, all or those of a span `FROM:TO` (either side may be left out).

    `at` marks the current revisions where the databases were asked. Raises `UsageError` for a bad span.
    """
    listed = {}
    for name, graph in deployment.graphs.items():
        keys = _span(graph, span, deployment) if span else set(graph.revisions)
        listed[name] = _marked(graph, reversed(graph.sorted(keys)), at)
    if span and not any(listed.values()):
        raise UsageError(f"{span!r} spans no revision", hint="write FROM:TO, FROM: or :TO with ids")
    return RevisionList("history", {name: each for name, each in listed.items() if each or not span})


def _span(graph: Graph, span: str, deployment: Deployment) -> set[str]:
    low, colon, high = span.partition(":")
    if not colon:
        raise UsageError(
            f"{span!r} is not a span", hint="write FROM:TO, FROM: or :TO; head-2 and base+2 count, too"
        )
    database = {
        text.partition("@")[0] for text in (low, high) if text.partition("@")[0] in deployment.databases
    }
    if database and graph.database not in database:
        return set()
    try:
        above = _ancestors(graph, high or "heads", deployment)
        below = _ancestors(graph, low or "base", deployment, inclusive=False)
    except UsageError:
        if len(deployment.graphs) == 1 or database:
            raise
        return set()
    return above - below


def _ancestors(graph: Graph, text: str, deployment: Deployment, *, inclusive: bool = True) -> set[str]:
    from circle_migrate.revision_graph import target as targets

    target = targets.parse(text, deployment.databases)
    if not target.symbol:
        raise UsageError(
            f"{text} counts from where a database is, which a span does not ask",
            hint=f"count from an end: {'head' if target.steps < 0 else 'base'}{target.steps:+d}",
        )
    found = targets.stamp_set(graph, (), target)
    return found if inclusive else found - set(graph.version_rows(found))


def heads(deployment: Deployment) -> RevisionList:
    """The heads of each tree."""
    return RevisionList("heads", {n: _marked(g, g.heads, None) for n, g in deployment.graphs.items()})


def branches(deployment: Deployment) -> RevisionList:
    """The branch points of each tree with the revisions that branch off there."""
    listed = {}
    for name, graph in deployment.graphs.items():
        keys = [each for point in graph.branch_points for each in (point, *graph.successors[point])]
        listed[name] = _marked(graph, dict.fromkeys(keys), None)
    return RevisionList("branches", listed)


def show(deployment: Deployment, names: Iterable[str]) -> RevisionList:
    """Revisions by any name a target can have. Raises `UsageError` for an unknown one."""
    from circle_migrate.revision_graph import target as targets

    found: dict[str, tuple[ListedRevision, ...]] = {}
    for text in names:
        for name, target in targets.assign([text], deployment.graphs).items():
            graph = deployment.graphs[name]
            keys = graph.version_rows(targets.stamp_set(graph, (), target))
            found[name] = found.get(name, ()) + _marked(graph, keys, None)
    return RevisionList("show", found)


def _marked(graph: Graph, keys: Iterable[str], at: Current | None) -> tuple[ListedRevision, ...]:
    current = (at or {}).get(graph.database, ())
    return tuple(ListedRevision(graph[key], tuple(_marks(graph, key, current))) for key in keys)


def _marks(graph: Graph, key: str, current: Collection[str]) -> Iterator[str]:
    if key in current:
        yield "current"
    if key in graph.heads:
        yield "head"
    elif key in graph.branch_points:
        yield "branch point"
    if len(graph[key].down_revisions) > 1:
        yield "merge"
