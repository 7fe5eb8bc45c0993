"""What a failed or interrupted run says: the step, the server's words, and where the databases are now."""

from __future__ import annotations

import asyncio

from circle_migrate.core.errors import (
    Interrupted,
    LockNotObtained,
    MigrateError,
    MigrationFailed,
    MissingPrivilege,
)
from circle_migrate.migrate.run import MigrationRun, describe
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.server_errors import (
    privilege_hint,
    server_error,
    server_message,
    statement_error,
)
from circle_migrate.revision_graph.modules import failing_line
from circle_migrate.revision_graph.plan import Action, Segment, Step

_SHOWN_STATEMENT = 300


async def describe_current_revisions(deployment: Deployment, names: tuple[str, ...]) -> str:
    """The current revision of each database, asked on new connections, as a sentence."""
    parts = []
    for name, state in (await deployment.states_or_errors(names)).items():
        if isinstance(state, MigrateError):
            parts.append(f"{name} cannot be asked")
        else:
            parts.append(f"{name} is at {', '.join(state.current) or 'base'}")
    return ", ".join(parts)


async def step_error(run: MigrationRun, action: Action, error: Exception | SystemExit) -> MigrateError:
    """The error for an action that raised; its transaction has been rolled back."""
    what = f"{action.database}: {describe(action)} failed"
    fault = statement_error(error, action.database, "do what the step needs") or MigrationFailed(
        what, database=action.database
    )
    fault.message = what
    fault.detail = _cause(error)
    if isinstance(action, Step):
        fault.location = failing_line(action.revision, error)
    fault.state = await describe_current_revisions(run.deployment, tuple(run.sessions))
    if isinstance(fault, MissingPrivilege):
        fault.hint = privilege_hint(server_message(error), run.states[action.database].role)
    fault.hint = fault.hint or "correct the cause and run the same command again"
    return fault


def _cause(error: Exception | SystemExit) -> str:
    words = server_message(error)
    if server_error(error) is None:
        words = f"{type(error).__name__}: {words}"
    statement = " ".join(str(getattr(error, "statement", None) or "").split())
    if len(statement) > _SHOWN_STATEMENT:
        statement = statement[:_SHOWN_STATEMENT] + " …"
    return f"{words}; in: {statement}" if statement else words


async def lock_timeout_error(
    run: MigrationRun, action: Action, error: Exception | SystemExit, tries: int
) -> LockNotObtained:
    """The error for a segment whose lock was never free within the time allowed."""
    blocked = run.blockers.get(action.database)
    return LockNotObtained(
        f"{action.database}: {describe(action)} did not get its lock in {tries} tries",
        database=action.database,
        detail="; ".join(filter(None, [_cause(error), blocked])),
        location=action.revision.location if isinstance(action, Step) else None,
        state=await describe_current_revisions(run.deployment, tuple(run.sessions)),
        hint="try again at a quieter time, end the session that blocks, or wait longer: --lock-wait SECONDS",
    )


async def interrupted_error(run: MigrationRun, segment: Segment) -> MigrateError:
    """The error for a run that was cancelled: by a signal, or because a server has gone."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    try:
        async with asyncio.timeout(2):
            state = await describe_current_revisions(run.deployment, tuple(run.sessions))
    except TimeoutError:
        state = "the servers do not answer; `circle-migrate current` will say where they are"
    if not segment.transactional:
        state += "; the step was not in a transaction and may be half done: run the same command again"
    if run.lost is not None:
        run.lost.state = state
        return run.lost
    return Interrupted("interrupted; what was not committed was rolled back", state=state)
