"""Run one action of a plan: its hooks, its step or stamp, and the end of the step on the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import await_only

from circle_migrate.core.events import EventKind
from circle_migrate.migrate import failure
from circle_migrate.migrate.alembic_adapter.context import InTurns
from circle_migrate.migrate.alembic_adapter.step_end import RowsChangedError
from circle_migrate.migrate.run import AppliedAction, MigrationRun, describe, keep_lock
from circle_migrate.migrate.session import check_constraints, ensure_server_unchanged
from circle_migrate.postgres.identifier import Constant
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.revision_graph.plan import Action, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


async def run_action(run: MigrationRun, segment: int, action: Action, *, is_last: bool) -> AppliedAction:
    """Run an action; `is_last` is that of its database in the segment.

    The end of a step may still be pending (`PendingEnd`), unless the step is the last, or hooks act on it.
    Raises `StepFailedError`, also for a step before, and `CancelledError`.
    """
    run.begin(action)
    started = time.monotonic()
    elsewhere = {name: heads for name, heads in run.current.items() if name != action.database}
    current = run.current[action.database]
    journal, runner = run.journals.get(action.database), run.runners[action.database]
    session = run.sessions[action.database]
    has_hooks = run.hooks.act_on(action)
    may_pend = not (is_last or has_hooks or run.deployment.is_server_shared)

    def record(constant: Constant) -> str:
        row = (run.id, segment, action, time.monotonic() - started, elsewhere, constant)
        return journal.insert_step_sql(*row, is_last=is_last) if journal else ""

    def note() -> None:
        if journal is not None and isinstance(action, Step):
            await_only(journal.note_step(session.driver, run.id, action))

    async def check() -> bool:
        return await ensure_constraints(run, action)

    def end(ending: Coroutine[Any, Any, None]) -> None:
        if may_pend:
            run.pending_end.take(_end(run, action, ending), runner)
        else:
            await_only(ending)

    def run_with_hooks(connection: Connection) -> None:
        run.hooks.before_step(connection, action)
        runner.run(connection, action, current, record, check, note, end)
        run.hooks.after_step(connection, action)

    with _as_failure(run, action):
        if has_hooks or not isinstance(action, Step):
            await run.pending_end.settle()
        if isinstance(action, Step):
            run.unfinished = action
            if not session.connection.in_transaction():
                await run.journals[action.database].begin_step(session.driver, run.id, action)
                run.stays = None
        await InTurns(session.connection.run_sync(run_with_hooks))
        if run.deployment.is_server_shared:
            await ensure_server_unchanged(session.driver, action.database)
    if not await run.pending_end.send():
        await keep_lock(run, action, runner.lock_answer)
    if journal is not None:
        journal.step_count += 1
    graph = run.deployment.combined_graph.graphs[action.database]
    run.current[action.database] = action.heads_after(graph, current)
    seconds = time.monotonic() - started
    run.emit(EventKind.DONE, action.database, describe(action), seconds)
    return AppliedAction(action, seconds)


async def _end(run: MigrationRun, action: Action, ending: Coroutine[Any, Any, None]) -> None:
    with _as_failure(run, action):
        await ending
        await keep_lock(run, action, run.runners[action.database].lock_answer)


@contextmanager
def _as_failure(run: MigrationRun, action: Action) -> Iterator[None]:
    """Raise errors as `StepFailedError`, and a signal as `CancelledError`."""
    try:
        yield
    except failure.StepFailedError:
        raise
    except RowsChangedError as changed:
        text = f"{changed}; {failure.leaves_as_they_are(run.states[action.database])}"
        raise failure.StepFailedError(run, action, RuntimeError(text)) from changed
    except KeyboardInterrupt:  # a signal while the step ran Python, not while it awaited the server
        raise asyncio.CancelledError from None
    except Exception as error:
        run.pending_end.raise_error()  # SQLAlchemy or the revision may have raised another error from it
        raise failure.StepFailedError(run, action, error) from error


async def ensure_constraints(run: MigrationRun, action: Action, *, before_commit: bool = False) -> bool:
    """Check deferred constraints while every database can still be rolled back."""
    try:
        return await check_constraints(run.sessions[action.database].driver, before_commit=before_commit)
    except Exception as error:
        failed = failure.StepFailedError(run, action, error)
        if failed.is_lost or failure.is_lock_conflict(error) or sqlstate(error) == "25P02":
            raise failed from error
        raise await failure.deferred_constraint_error(run, action, error) from error
