"""Contradictions of the journal: version tables that lack applied revisions, and files that were edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import nullcontext
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING

from circle_migrate.core.errors import InDoubt, Refused, UsageError
from circle_migrate.core.redaction import redact, redact_python, redact_source
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.migrate.half_done import ensure_not_half_undone
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.unknown_relations import user_relations
from circle_migrate.postgres.identifier import quote
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision import Revision

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.run import MigrationRun
    from circle_migrate.migrate.session import Session
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.deployment import Current, Deployment
    from circle_migrate.revision_graph.plan import Plan


class ContradictoryState(InDoubt, code="contradictory-state"):
    """The version table and the journal of a database contradict each other."""


def _pending(graph: Graph, state: State) -> Set[str]:
    """Return the pending revisions that a journal could call applied."""
    if state.journal_of is None or any(key not in graph for key in state.current):
        return frozenset()
    return graph.pending(state.current)


async def missing_revisions(
    graph: Graph, state: State, journal: Journal, connection: asyncpg.Connection
) -> tuple[str, ...]:
    """Return the applied revisions of the journal that the version table lacks.

    Plain Alembic writes no journal, so revisions that only the version table has are right. A database
    without any relation was emptied together with its version table.
    """
    pending = _pending(graph, state)
    missing = pending & await journal.applied_revisions(connection, graph) if pending else set()
    return graph.sorted(missing) if missing and await user_relations(connection, state) else ()


def contradiction_error(graph: Graph, state: State, missing: tuple[str, ...]) -> ContradictoryState:
    """Return the error for revisions that are missing in the version table."""
    name = state.database
    table = f"{quote(state.schema)}.{quote(state.version_table)}"
    heads = graph.version_rows(graph.ancestors((*state.current, *missing)))
    stamps = [" ".join(f"{name}@{key}" for key in rows or ("base",)) for rows in (heads, state.current)]
    return ContradictoryState(
        f"{name}: applied according to the journal, but not to the version table: {', '.join(missing)}; "
        f"{table} has {', '.join(state.current) or 'no revision'}",
        database=name,
        state="nothing was changed",
        hint=f"if the schema has what the journal says: circle-migrate stamp {stamps[0]}; "
        f"if it is as the version table says: circle-migrate stamp {stamps[1]} --purge",
    )


async def ensure_agreement(
    deployment: Deployment,
    states: Mapping[str, State],
    plan: Plan,
    sessions: Mapping[str, Session] = MappingProxyType({}),
) -> None:
    """Raise `ContradictoryState` where the version table of a database lacks applied revisions.

    A stamp, which ends that, may run. Raises `HalfApplied` as `ensure_not_half_undone` does.
    """
    from circle_migrate.revision_graph.plan import Stamp

    if plan and all(isinstance(action, Stamp) and action.sets_revisions for action in plan.actions):
        return
    ensure_not_half_undone(deployment.combined_graph.graphs, states, plan)
    for name, state in states.items():
        database = deployment.databases[name]
        if not _pending(database.graph, state):
            continue
        async with (
            nullcontext(sessions[name].driver) if name in sessions else database.reading() as connection
        ):
            missing = await missing_revisions(database.graph, state, Journal(database, state), connection)
        if missing:
            raise contradiction_error(database.graph, state, missing)


async def plan_in_agreement(
    deployment: Deployment, states: Mapping[str, State], planner: Callable[[Current], Plan]
) -> Plan:
    """Return the plan from the current revisions; contradictions are raised before errors of the planner."""
    current = verify_identity(deployment, states)
    try:
        plan = planner(current)
    except UsageError:
        from circle_migrate.revision_graph.plan import Plan

        await ensure_agreement(deployment, states, Plan(current, current))
        raise
    await ensure_agreement(deployment, states, plan)
    return plan


class EditedRevision(Refused, code="edited-revision"):
    """The file of an applied revision was changed."""


async def edited_revisions(
    graph: Graph, current: tuple[str, ...], journal: Journal, connection: asyncpg.Connection, digest: str
) -> list[tuple[Revision, str]]:
    """Return the applied revisions whose files have changed, with diffs; `digest` is the journal's."""
    if digest == graph.digest:
        return []
    checksums = await journal.checksums(connection)
    applied = graph.sorted(graph.ancestors(key for key in current if key in graph) & checksums.keys())
    edited = [graph[key] for key in applied if not graph.squashes.is_unchanged(graph[key], checksums[key])]
    sources = await journal.sources(connection, [revision.id for revision in edited])
    return [(revision, _diff(revision, sources.get(revision.id, ""))) for revision in edited]


def _diff(revision: Revision, source: str) -> str:
    import difflib

    # Lines are compared as the journal has them, and shown with less.
    texts = source, revision.read_source()
    before, after = (
        [f"{shown}\0{line}" for shown, line in zip(redact_source(lines), lines, strict=True)]
        for lines in (redact(str(redact_python(text))).splitlines() for text in texts)
    )
    name = PurePath(revision.path).name
    diff = difflib.unified_diff(before, after, "as applied", name, lineterm="", n=1)
    return "\n".join(line.partition("\0")[0] for line in diff)


async def ensure_not_edited(run: MigrationRun) -> None:
    """Raise `EditedRevision`, with a diff, where the file of an applied revision has changed."""
    for name, journal in run.journals.items():
        state, driver = run.states[name], run.sessions[name].driver
        if state.journal_of is None:
            continue
        graph, digest = run.deployment.combined_graph.graphs[name], await journal.digest(driver)
        for revision, diff in await edited_revisions(graph, state.current, journal, driver, digest):
            raise edited_revision_error(revision, diff)


def edited_revision_error(revision: Revision, diff: str) -> EditedRevision:
    """Return the error for a revision whose file has changed since it was applied."""
    return EditedRevision(
        f"{revision.database}: revision {revision.id} was edited after it was applied",
        database=revision.database,
        location=revision.location,
        detail=diff,
        hint="restore the file and write a new revision, or add --allow-edited",
    )
