"""`current`, `history`, `heads`, `branches` and `show`: list revisions."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from circle_migrate.core.errors import ExitCode, MigrateError, UsageError
from circle_migrate.core.result import Result, json_fields, worst_exit_code
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_own_tables, verify_identity
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision


@dataclass(frozen=True, slots=True)
class DatabasePosition:
    """The current revisions of one database, or the error of reading them."""

    database: str
    current: tuple[Revision, ...] = ()
    heads: tuple[str, ...] = ()
    pending: int = 0
    error: MigrateError | None = None


@dataclass(frozen=True, slots=True)
class CurrentResult(Result):
    """The result of `current`: the current revisions of each database."""

    positions: tuple[DatabasePosition, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the worst error."""
        return worst_exit_code([position.error.status for position in self.positions if position.error])

    def to_dict(self) -> dict[str, Any]:
        """Return one object per database."""
        return {
            "databases": {
                position.database: {
                    "current": [revision.id for revision in position.current],
                    **json_fields(position, "heads pending error"),
                }
                for position in self.positions
            }
        }


@dataclass(frozen=True, slots=True)
class ListedRevision:
    """A revision in a list, with words such as `head` and `current`; `doc` is its docstring, if shown."""

    revision: Revision
    marks: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True)
class RevisionList(Result):
    """The result of `history`, `heads`, `branches` and `show`: revisions of the trees."""

    revisions: Mapping[str, tuple[ListedRevision, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return the revisions by database, in the order of the list."""
        return {
            "databases": {
                name: [entry.revision.to_dict() | {"marks": list(entry.marks)} for entry in entries]
                for name, entries in self.revisions.items()
            },
            "errors": [],
        }


async def current(deployment: Deployment) -> CurrentResult:
    """Return the current revisions of each database, or the error of one that cannot be read."""
    states = await deployment.states_or_errors()
    return CurrentResult("current", tuple(_position(deployment, name, states[name]) for name in states))


def _position(deployment: Deployment, name: str, state: State | MigrateError) -> DatabasePosition:
    graph = deployment.combined_graph.graphs[name]
    if isinstance(state, MigrateError):
        return DatabasePosition(name, heads=graph.heads, error=state)
    try:
        verify_identity(deployment, {name: state})
        ensure_own_tables({name: state}, reading=True)
        ensure_not_in_doubt({name: state})
    except MigrateError as error:
        revisions = tuple(graph.revisions.get(key, Revision(name, key)) for key in state.current)
        return DatabasePosition(name, revisions, graph.heads, error=error)
    revisions = tuple(graph[key] for key in state.current)
    return DatabasePosition(name, revisions, graph.heads, len(graph.pending(state.current)))


def history(
    deployment: Deployment, revision_range: str | None = None, current: Current | None = None
) -> RevisionList:
    """Return all revisions, or those of a range `FROM:TO`, newest first; the `current` ones are marked.

    What a squashed revision replaces is left out, unless a database is at one of them.
    """
    by_database = {}
    for name, graph in deployment.graphs.items():
        keys = _in_range(graph, revision_range, deployment) if revision_range else set(graph.revisions)
        for squashed in graph.squashes.revisions.values():
            ends = {*(current or {}).get(name, ()), *graph.version_rows(keys)}
            if squashed.id in keys and ends.isdisjoint(squashed.replaces):
                keys.difference_update(squashed.replaces)
        by_database[name] = _entries(graph, reversed(graph.sorted(keys)), current)
    if revision_range:
        by_database = {name: entries for name, entries in by_database.items() if entries}
        if not by_database:
            raise UsageError(
                f"{revision_range!r} has no revision", hint="write FROM:TO, FROM: or :TO with ids"
            )
    return RevisionList("history", by_database)


def _in_range(graph: Graph, revision_range: str, deployment: Deployment) -> set[str]:
    low, colon, high = revision_range.partition(":")
    if not colon:
        raise UsageError(
            f"{revision_range!r} is not a range", hint="write FROM:TO, FROM: or :TO, for example head-2:"
        )
    databases = {text.partition("@")[0] for text in (low, high)} & deployment.databases.keys()
    if databases and graph.database not in databases:
        return set()
    try:
        above = _ancestors(graph, high or "heads", deployment)
        below = _ancestors(graph, low or "base", deployment, inclusive=False)
    except UsageError:
        if len(deployment.graphs) == 1 or databases:
            raise
        return set()
    return above - below


def _ancestors(graph: Graph, text: str, deployment: Deployment, *, inclusive: bool = True) -> set[str]:
    from circle_migrate.revision_graph import target as targets

    target = targets.parse(text, deployment.databases)
    if not target.symbol:
        raise UsageError(
            f"{text} is relative to the current revision, which a range cannot use",
            hint=f"count from head or base: {'head' if target.steps < 0 else 'base'}{target.steps:+d}",
        )
    ancestors = targets.stamp_set(graph, (), target)
    return ancestors if inclusive else ancestors - set(graph.version_rows(ancestors))


def heads(deployment: Deployment) -> RevisionList:
    """Return the heads of each tree."""
    graphs = deployment.graphs.items()
    return RevisionList("heads", {name: _entries(graph, graph.heads) for name, graph in graphs})


def branches(deployment: Deployment) -> RevisionList:
    """Return the branch points of each tree with their successors."""
    by_database = {}
    for name, graph in deployment.graphs.items():
        keys = [key for point in graph.branch_points for key in (point, *graph.successors[point])]
        by_database[name] = _entries(graph, dict.fromkeys(keys))
    return RevisionList("branches", by_database)


def show(deployment: Deployment, names: Iterable[str]) -> RevisionList:
    """Return the revisions of targets. Raises `UsageError` for an unknown one."""
    from circle_migrate.revision_graph import target as targets
    from circle_migrate.revision_graph.parse_file import read_doc

    by_database: dict[str, tuple[ListedRevision, ...]] = {}
    for text in names:
        for name, target in targets.assign([text], deployment.graphs).items():
            graph = deployment.graphs[name]
            keys = graph.version_rows(targets.stamp_set(graph, (), target))
            entries = (replace(entry, doc=read_doc(entry.revision)) for entry in _entries(graph, keys))
            by_database[name] = (*by_database.get(name, ()), *entries)
    return RevisionList("show", by_database)


def _entries(graph: Graph, keys: Iterable[str], current: Current | None = None) -> tuple[ListedRevision, ...]:
    rows = (current or {}).get(graph.database, ())
    return tuple(ListedRevision(graph[key], tuple(_marks(graph, key, rows))) for key in keys)


def _marks(graph: Graph, key: str, current: Collection[str]) -> Iterator[str]:
    if key in current:
        yield "current"
    if key in graph.heads:
        yield "head"
    elif key in graph.branch_points:
        yield "branch point"
    if len(graph[key].down_revisions) > 1:
        yield "merge"
    if graph[key].replaces:
        yield f"replaces {len(graph[key].replaces)}"
    if key in graph.squashes.squashed_by:
        yield f"replaced by {graph.squashes.squashed_by[key]}"
