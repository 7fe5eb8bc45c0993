"""Verify that each database is the one its name stands for, at revisions of its own tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, Refused, UnknownRevision, WrongDatabase

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.revision_graph.forest import CombinedGraph


def verify_identity(deployment: Deployment, states: Mapping[str, State]) -> dict[str, tuple[str, ...]]:
    """Return the current revisions of the databases once they are known to be the right ones.

    Raises `WrongDatabase` where two are the same or a version belongs to another tree, `UnknownRevision`
    where no tree has it, `Refused` where the version table contradicts itself.
    """
    ensure_distinct(states)
    for state in states.values():
        _ensure_own_journal(state)
        _ensure_known_revisions(deployment.forest, state)
    return {name: state.current for name, state in states.items()}


def ensure_distinct(states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` where two names lead to one database."""
    seen: dict[tuple[int, int], str] = {}
    for name, state in states.items():
        if state.identity is None:
            continue
        other = seen.setdefault(state.identity, name)
        if other != name:
            raise WrongDatabase(
                f"{other} and {name} are the same database: {state.name!r}",
                database=name,
                state="nothing was changed",
                hint="give each its own: `circle-migrate config show` says where the URLs came from",
            )


def ensure_not_swapped(deployment: Deployment, states: Mapping[str, State]) -> None:
    """Raise `WrongDatabase` where a version or a journal says that a database is another one.

    Unknown revisions are accepted: a database at one can still be backed up and restored.
    """
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
            f"{state.database} leads to a database that was migrated as {state.journal_of}",
            database=state.database,
            detail=f"the journal in {state.name!r} says so",
            state="nothing was changed",
            hint="the URLs seem to be swapped: `circle-migrate config show`",
        )


def _ensure_known_revisions(forest: CombinedGraph, state: State) -> None:
    graph = forest.graphs[state.database]
    for key in state.current:
        if key not in graph:
            raise _unknown_revision_error(forest, key, state)
    if set(state.current) == set(graph.effective_heads):
        return
    tips = graph.version_rows(graph.ancestors(state.current))
    if sorted(tips) != sorted(state.current):
        raise Refused(
            f"{state.database}: the version table names {', '.join(state.current)}, "
            f"of which {', '.join(tips)} would be enough",
            database=state.database,
            state="nothing was changed",
            hint=f"if the schema really is there: circle-migrate stamp {' '.join(tips)} --purge",
        )


def _unknown_revision_error(forest: CombinedGraph, key: str, state: State) -> MigrateError:
    for name, graph in forest.graphs.items():
        if key in graph:
            return WrongDatabase(
                f"{state.database} is at {key}, a revision of {name}: the URLs seem to be swapped",
                database=state.database,
                state="nothing was changed",
                hint="compare the two URLs: `circle-migrate config show`",
            )
    return UnknownRevision(
        f"{state.database} is at {key}, which is in none of the trees: a newer release was here, or the "
        "revision is on another branch, or its file is gone, or this is another application's database",
        database=state.database,
        state="nothing was changed",
        hint="install the release that has it"
        + (f"; its text is in the journal: circle-migrate log --source {key}" if state.journal_of else "")
        + f"; where it is lost for good: circle-migrate stamp {state.database}@REVISION --purge",
    )
