"""Verify that a database belongs to its name and is at revisions of its own tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, Refused, UnknownRevision, WrongDatabase
from circle_migrate.postgres.identifier import quote

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.forest import CombinedGraph
    from circle_migrate.revision_graph.graph import Graph

_COMPARE_URLS = "the URLs may be swapped: compare them with `circle-migrate config show`"


def verify_identity(deployment: Deployment, states: Mapping[str, State]) -> dict[str, tuple[str, ...]]:
    """Return the current revisions of the databases after checking who they are.

    Raises `WrongDatabase` where two databases are the same or a current revision belongs to another tree,
    `UnknownRevision` where no tree has it, `Refused` where the version table has more rows than it should,
    or cannot hold an id.
    """
    ensure_distinct(states)
    for state in states.values():
        _ensure_own_journal(state)
        _ensure_known_revisions(deployment.forest, state)
    return {name: state.current for name, state in states.items()}


def ensure_distinct(states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` where two names lead to one database."""
    names: dict[tuple[int, int], str] = {}
    for name, state in states.items():
        if state.identity is None:
            continue
        first = names.setdefault(state.identity, name)
        if first != name:
            raise WrongDatabase(
                f"{first} and {name} are the same database: {state.name}",
                database=name,
                hint="give every database its own URL; `circle-migrate config show` shows "
                "which setting a URL comes from",
            )


def ensure_not_swapped(deployment: Deployment, states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` for a revision or journal of another database; unknown revisions are accepted."""
    for name, state in states.items():
        try:
            verify_identity(deployment, {name: state})
        except WrongDatabase:
            raise
        except (Refused, UnknownRevision):
            continue


def _ensure_own_journal(state: State) -> None:
    if state.journal_of not in (None, state.database):
        raise WrongDatabase(
            f"the URL of {state.database} leads to a database that was migrated as {state.journal_of}",
            database=state.database,
            detail=f"the journal in {state.name} has the name {state.journal_of}",
            hint=_COMPARE_URLS,
        )


def _ensure_known_revisions(forest: CombinedGraph, state: State) -> None:
    graph = forest.graphs[state.database]
    for key in state.current:
        if key not in graph:
            raise _unknown_revision_error(forest, key, state)
    if set(state.current) == set(graph.effective_heads):
        return
    if state.id_length is not None and len(graph.longest_id) > state.id_length:
        raise _long_id_error(graph, state)
    rows = graph.version_rows(graph.ancestors(state.current))
    if sorted(rows) != sorted(state.current):
        raise Refused(
            f"{state.database}: the version table has {', '.join(state.current)}, "
            f"but {', '.join(rows)} includes the rest",
            database=state.database,
            state="nothing was changed",
            hint="if the schema is really at that revision, type "
            f"`circle-migrate stamp {' '.join(rows)} --purge`",
        )


def _long_id_error(graph: Graph, state: State) -> Refused:
    key = graph.longest_id
    table = f"{quote(state.schema)}.{quote(state.version_table)}"
    return Refused(
        f"{state.database}: revision id {key} has {len(key)} characters; "
        f"version_num of {table} holds {state.id_length}",
        database=state.database,
        location=graph[key].location,
        state="nothing was changed",
        hint=f"ALTER TABLE {table} ALTER COLUMN version_num TYPE varchar(255);",
    )


def _unknown_revision_error(forest: CombinedGraph, key: str, state: State) -> MigrateError:
    for name, graph in forest.graphs.items():
        if key in graph:
            return WrongDatabase(
                f"{state.database} is at revision {key} of {name}",
                database=state.database,
                hint=_COMPARE_URLS,
            )
    return UnknownRevision(
        f"{state.database} is at revision {key}, which no revision file has: a newer release was here, or "
        "the revision is on another branch, or its file was deleted, or it is another application's database",
        database=state.database,
        hint="install the release that has the revision"
        + (f"; the journal has its source: `circle-migrate log --source {key}`" if state.journal_of else "")
        + f"; if the file is lost, type `circle-migrate stamp {state.database}@REVISION --purge`",
    )
