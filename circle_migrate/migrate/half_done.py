"""Steps without transaction that a run has left half applied or half undone, until one completes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from circle_migrate.core.errors import HalfApplied

STEP_SETTING = "circle_migrate.step"
"""The setting that has, after a rollback, the revision whose step has committed its transaction itself."""

if TYPE_CHECKING:
    from circle_migrate.postgres.database import State
    from circle_migrate.postgres.journal_tables import UnfinishedStep
    from circle_migrate.revision_graph.graph import Graph
    from circle_migrate.revision_graph.plan import Plan


def half_done(graph: Graph, state: State) -> dict[tuple[str, str], UnfinishedStep]:
    """Return the unfinished steps by revision and direction, several attempts as one.

    Those that plain Alembic has completed, and those of revisions that the graph lacks, are left out.
    """
    applied = graph.ancestors(key for key in state.current if key in graph)
    steps: dict[tuple[str, str], UnfinishedStep] = {}
    for step in state.unfinished:
        if step.revision in graph and (step.revision in applied) == step.is_downgrade:
            first = steps.setdefault((step.revision, step.direction), step)
            stays = tuple(dict.fromkeys((*first.stays, *step.stays)))
            steps[step.revision, step.direction] = first._replace(stays=stays)
    return steps


def describe_half_done(step: UnfinishedStep) -> str:
    """Return which run has left the step, and what stays."""
    done = "undone" if step.is_downgrade else "applied"
    stays = f"these stay: {'; '.join(step.stays)}" if step.stays else "what stays was not recorded"
    return f"run {step.run[:8]} at {step.at} left {step.revision} half {done}, {stays}"


def remedy_of_half_done(graph: Graph, current: tuple[str, ...], revision: str, *, is_downgrade: bool) -> str:
    """Return what to do about a step that is half done."""
    name, done, command = graph.database, "applied", "upgrade"
    if is_downgrade:
        branch = "" if current == (revision,) else f"{revision}@"
        done, command = "undone", f"downgrade {name}@{branch}-1"
        after = graph.version_rows_after_downgrade(current, revision)
    else:
        after = graph.version_rows_after_upgrade(current, revision)
    stamps = [" ".join(f"{name}@{key}" for key in rows or ("base",)) for rows in (after, current)]
    return (
        "undo by hand what stays, or change the revision so that it can run again (IF EXISTS, IF NOT EXISTS),"
        f" then: circle-migrate {command}; or finish by hand and record that, if all of {revision} is {done}"
        f": circle-migrate stamp {stamps[0]}; if nothing of it is: circle-migrate stamp {stamps[1]} --purge"
    )


def half_done_error(graph: Graph, state: State, step: UnfinishedStep) -> HalfApplied:
    """Return the error for a step that a run has left."""
    return HalfApplied(
        f"{state.database}: {describe_half_done(step)}",
        database=state.database,
        location=graph[step.revision].location,
        state="nothing was changed",
        hint=remedy_of_half_done(graph, state.current, step.revision, is_downgrade=step.is_downgrade),
    )


def ensure_not_half_undone(graphs: Mapping[str, Graph], states: Mapping[str, State], plan: Plan) -> None:
    """Raise `HalfApplied` for a revision that is half undone, unless the plan undoes it."""
    from circle_migrate.revision_graph.plan import Direction, Step

    undone = {
        (action.database, action.revision.id)
        for action in plan.actions
        if isinstance(action, Step) and action.direction is Direction.DOWN
    }
    for name, state in states.items():
        for step in half_done(graphs[name], state).values():
            if step.is_downgrade and (name, step.revision) not in undone:
                raise half_done_error(graphs[name], state, step)
