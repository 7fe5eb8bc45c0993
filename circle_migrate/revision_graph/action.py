"""The actions of plans: steps and stamps, in order, of revisions to apply or to undo."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from circle_migrate.core.errors import UnknownRevision
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision
from circle_migrate.revision_graph.squashes import Choice


class Direction(StrEnum):
    """The function of a revision that runs, or STAMP, which writes the version table only."""

    UP = "up"
    DOWN = "down"
    STAMP = "stamp"


@dataclass(frozen=True, slots=True)
class Step:
    """One revision in one direction."""

    revision: Revision
    direction: Direction

    @property
    def database(self) -> str:
        """The database on which the step runs."""
        return self.revision.database

    @property
    def function(self) -> str:
        """The name of the revision's function that runs."""
        return "upgrade" if self.direction is Direction.UP else "downgrade"

    def heads_after(self, graph: Graph, current: tuple[str, ...]) -> tuple[str, ...]:
        """Return the current revisions of its database after the step."""
        if self.direction is Direction.UP:
            return graph.version_rows_after_upgrade(current, self.revision.id)
        return graph.version_rows_after_downgrade(current, self.revision.id)


@dataclass(frozen=True, slots=True)
class Stamp:
    """An action that sets the version table of one database to `heads` and runs no revision.

    `claimed` revisions count as applied after it, `disowned` ones as not applied. `purge` drops unknown rows.
    """

    database: str
    heads: tuple[str, ...]
    claimed: tuple[Revision, ...] = ()
    disowned: tuple[Revision, ...] = ()
    purge: bool = False

    direction = Direction.STAMP

    @property
    def sets_revisions(self) -> bool:
        """Whether it says which revisions are applied; a run without changes stays at the current ones."""
        return bool(self.claimed or self.disowned or self.purge)

    def heads_after(self, _graph: Graph, _current: tuple[str, ...]) -> tuple[str, ...]:
        """Return the current revisions of its database after the stamp."""
        return self.heads


Action = Step | Stamp


def steps_of(actions: Iterable[Action]) -> Iterator[Step]:
    """Return the actions that run a revision."""
    return (action for action in actions if isinstance(action, Step))


def _choices(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    names: Collection[str],
    *,
    squashed: bool | None,
) -> dict[str, Choice]:
    """Return what is skipped or only recorded; by default squashed revisions run in databases without any."""
    choices = {}
    for name, rows in current.items():
        squashes = graph.graphs[name].squashes
        keys = (
            {key for key in graph.graphs[name].revisions if f"{name}@{key}" in names} if squashes else set()
        )
        choices[name] = squashes.choose(keys, squashed=not rows if squashed is None else squashed)
    return choices


def upgrade_actions(
    graph: CombinedGraph,
    current: Mapping[str, tuple[str, ...]],
    names: Collection[str],
    *,
    squashed: bool | None = None,
) -> list[Action]:
    """Return the actions that apply the revisions: steps, and stamps that only record a squashed revision."""
    choices = _choices(graph, current, names, squashed=squashed)
    rows = dict(current)
    actions: list[Action] = []
    for qualified in graph.order(names):
        name, _, key = qualified.partition("@")
        if key in choices[name].skipped:
            continue
        of_database = graph.graphs[name]
        action: Action = Step(_with_file(of_database, key), Direction.UP)
        rows[name] = action.heads_after(of_database, rows[name])
        if key in choices[name].recorded:
            action = Stamp(name, rows[name], claimed=(of_database[key],))
        actions.append(action)
    return actions


def downgrade_actions(
    graph: CombinedGraph, current: Mapping[str, tuple[str, ...]], order: Sequence[str]
) -> list[Action]:
    """Return the actions that undo the revisions in this order.

    A squashed revision is undone at once where all that it replaces is undone; else only its record is.
    """
    choices = _choices(graph, current, order, squashed=True)
    rows = dict(current)
    actions: list[Action] = []
    for qualified in order:
        name, _, key = qualified.partition("@")
        of_database, choice = graph.graphs[name], choices[name]
        if key in choice.skipped:
            continue
        squashed = of_database.squashes.revisions.get(key)
        if squashed is not None and (key in choice.recorded) == (key in rows[name]):
            # Undone at once, it must be the version row; else the last replaced one must be.
            last = squashed.replaces[-1]
            if key in choice.recorded:
                rows[name] = tuple(sorted({*rows[name], last} - {key}))
                actions.append(Stamp(name, rows[name], disowned=(squashed,)))
            else:
                rows[name] = tuple(sorted({*rows[name], key} - {last}))
                actions.append(Stamp(name, rows[name], claimed=(squashed,)))
        if key not in choice.recorded:
            step = Step(_with_file(of_database, key), Direction.DOWN)
            rows[name] = step.heads_after(of_database, rows[name])
            actions.append(step)
    return actions


def _with_file(graph: Graph, key: str) -> Revision:
    """Return a revision that runs. Raises `UnknownRevision` if its file was deleted after it was squashed."""
    if key in graph.squashes.missing:
        raise missing_file_error(graph, key)
    return graph[key]


def missing_file_error(graph: Graph, key: str, *, is_current: bool = False) -> UnknownRevision:
    """Return the error for a database at a revision inside a squashed one, without the replaced files."""
    name, squashed = graph.database, graph[graph.squashes.squashed_by[key]]
    reason = f"{name} is at {key}" if is_current else f"{name} has to run {key}"
    command = f"circle-migrate upgrade {name}@{squashed.replaces[-1]}"
    return UnknownRevision(
        f"{reason}, one of the revisions that {squashed.id} replaces, and the files of these are gone",
        database=name,
        location=squashed.location,
        hint=f"with the last release that has them, type `{command}`, then the same command again here; "
        "or restore the files from version control",
    )
