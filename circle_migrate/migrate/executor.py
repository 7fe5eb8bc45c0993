"""The one way a step, in any direction, reaches a database.

`apply` locks, reads the current revisions again under the lock, lets the caller's planner plan from them,
and runs the plan segment by segment. A segment's transactions stay open on every database until all its
steps have succeeded; only then are they committed (see `commit`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, MigrationFailed
from circle_migrate.core.events import Kind, Notify
from circle_migrate.core.shield import shielded
from circle_migrate.migrate.alembic_adapter.context import VersionTable, one_at_a_time
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.migrate.commit import commit, ensure_atomic_possible, roll_back
from circle_migrate.migrate.edited_files import ensure_not_edited
from circle_migrate.migrate.failure import (
    describe_current_revisions,
    interrupted_error,
    lock_timeout_error,
    step_error,
)
from circle_migrate.migrate.guards import ensure_not_in_doubt, ensure_writable
from circle_migrate.migrate.identity import verify_identity
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.run import (
    AppliedAction,
    Checkpoint,
    Hooks,
    MigrationRun,
    describe,
    finish_run,
    start_run,
)
from circle_migrate.migrate.session import monitor, working_session
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.server_errors import (
    DEADLOCK_DETECTED,
    LOCK_NOT_AVAILABLE,
    server_message,
    sqlstate,
)
from circle_migrate.revision_graph.plan import Action, Plan, Segment, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.migrate.protection import ProtectionGuard

MakePlan = Callable[[Current], Plan]
"""Plans from the current revisions that were read under the lock."""


MOST_TRIES = 30
"""How often a segment is tried that does not get its locks."""

_BACK_OFF = (0.2, 5.0)
"""The first and the longest pause between two tries, in seconds, before jitter."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did: the plan it made under the lock, and the actions in the order in which they ran."""

    run: str
    plan: Plan
    applied: tuple[AppliedAction, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a caller can ask of `apply` besides its settings.

    `recognised` is off for a stamp that mends a version table nobody can read; `allow_edited` lets files
    differ from those that were applied; `guard` refuses protected databases; `notes`, to which hooks may add
    while they prepare, are kept with the run in the journal, as JSON; `checkpoint` is for tests that end the
    process. A `rehearsal` goes the same way but for its last call: it rolls back where a run commits, and
    writes no journal. Its plan has to be of one segment, in a transaction.
    """

    command: str
    verify_identity: bool = True
    allow_edited: bool = False
    rehearsal: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    guard: ProtectionGuard | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    checkpoint: Checkpoint = lambda _name: None


class _StepFailedError(Exception):
    """A step raised; its transaction is still open."""

    def __init__(self, action: Action, error: Exception | SystemExit) -> None:
        super().__init__(str(error))
        self.action = action
        self.error = error

    @property
    def is_lock_conflict(self) -> bool:
        """Whether it did not get a lock in time or was a deadlock's victim, so that trying again may help."""
        return sqlstate(self.error) in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED)


async def execute(
    deployment: Deployment,
    databases: tuple[str, ...],
    planner: MakePlan,
    notify: Notify,
    options: RunOptions,
) -> RunResult:
    """Lock the databases, plan from what they are at now, run the plan and return what was done.

    Raises `LockNotObtained`, `InDoubt`, `NotWritable`, whatever the planner raises, `MigrationFailed` with
    the state the databases are in, or `Interrupted`.
    """
    task = asyncio.current_task()
    run = MigrationRun(
        deployment,
        options.command,
        notify,
        options.checkpoint,
        options.hooks,
        rehearsal=options.rehearsal,
        task=task,
    )
    async with AsyncExitStack() as stack:
        stack.push(run.translate_cancellation)
        await _connect_and_lock(run, databases, stack)
        current = {name: state.current for name, state in run.states.items()}
        plan = planner(verify_identity(deployment, run.states) if options.verify_identity else current)
        if plan:
            await _prepare(run, plan, options)
            await _run_segments(run, plan)
        return RunResult(run.id, plan, tuple(run.applied))


async def _connect_and_lock(run: MigrationRun, databases: tuple[str, ...], stack: AsyncExitStack) -> None:
    """Connect to and lock every database, in the order of the deployment, and read its state."""
    settings = run.deployment.settings
    for name in databases:
        opened = working_session(run.deployment.databases[name], run.id, settings.lock_timeout)
        run.sessions[name] = await stack.enter_async_context(opened)

    for name, session in run.sessions.items():
        lock = deployer_lock(session.driver, name, settings.lock_wait, run.notify)
        await stack.enter_async_context(lock)
    for name, session in run.sessions.items():
        database = run.deployment.databases[name]
        await stack.enter_async_context(monitor(database, session, run.observe, run.abort))
        run.states[name] = await database.read_state(session.driver)
    ensure_not_in_doubt(run.states)


async def _prepare(run: MigrationRun, plan: Plan, options: RunOptions) -> None:
    """Everything that can refuse the plan, then the journal; nothing of the plan has run yet."""
    run.step_count = len(plan.actions)
    run.current = dict(plan.current)
    if run.rehearsal and [segment.transactional for segment in plan.segments] != [True]:
        raise ValueError("a rehearsal is of one segment, in a transaction")
    overridden = {}
    if options.guard is not None:
        options.guard.ensure_unprotected(run.states, plan.databases)
        overridden = options.guard.notes(run.states, plan.databases)
    for name in plan.databases:
        ensure_writable(run.states[name])
        database = run.deployment.databases[name]
        table = VersionTable(database.settings.version_table, database.settings.version_table_schema)
        run.runners[name] = Runner(run.deployment.forest.graphs[name], table, plan.steps(name))
        for step in plan.steps(name):
            if step.revision.uses_helpers and step.revision.non_transactional_reason is None:
                async with one_at_a_time():
                    run.runners[name].rehearse(step)
        if not run.rehearsal:
            run.journals[name] = Journal(database, run.states[name].schema)
    await ensure_atomic_possible(run, plan)
    if not options.allow_edited and any(isinstance(action, Step) for action in plan.actions):
        await ensure_not_edited(run)
    await run.hooks.before_run(run, plan)
    if not run.rehearsal:
        await start_run(run, plan, {**options.notes, **overridden})


async def _run_segments(run: MigrationRun, plan: Plan) -> None:
    segment = plan.segments[0]
    try:
        for number, segment in enumerate(plan.segments, 1):
            if segment.transactional:
                await _run_in_transactions(run, number, segment)
            else:
                await _run_without_transaction(run, number, segment)
    except asyncio.CancelledError:
        error = await interrupted_error(run, segment)
        await finish_run(run, "interrupted", error)
        raise error from None
    except MigrateError as error:
        await finish_run(run, "failed", error)
        raise
    await shielded(finish_run(run, "done"), raise_error=True)


async def _run_in_transactions(run: MigrationRun, number: int, segment: Segment) -> None:
    """Run a segment as a whole, again from its beginning where it did not get its locks."""
    deadline = time.monotonic() + run.deployment.settings.lock_wait
    for tries in range(1, MOST_TRIES + 1):
        run.hooks.before_segment(number, segment)
        try:
            await _try_segment(run, number, segment)
        except _StepFailedError as failed:
            if not failed.is_lock_conflict:
                raise await step_error(run, failed.action, failed.error) from failed.error
            pause = min(_BACK_OFF[0] * 2 ** (tries - 1), _BACK_OFF[1]) * random.uniform(0.5, 1.0)  # noqa: S311
            if tries == MOST_TRIES or time.monotonic() + pause > deadline:
                raise await lock_timeout_error(run, failed.action, failed.error, tries) from failed.error
            run.emit(Kind.RETRY, failed.action.database, f"rolled back, try {tries + 1} in {pause:.1f} s")
            await asyncio.sleep(pause)
        else:
            return


async def _try_segment(run: MigrationRun, number: int, segment: Segment) -> None:
    done: list[AppliedAction] = []
    begun, at = run.step_number, dict(run.current)
    try:
        for name in segment.databases:
            await run.sessions[name].connection.begin()
        for action in segment.actions:
            done.append(await _run_action(run, number, action))  # noqa: PERF401 - counts when the next one fails
        for name in segment.databases:
            await _check_deferred(run, name)
    except BaseException:
        run.step_number, run.current = begun, at
        await _roll_back(run, segment)
        raise
    if run.rehearsal:
        await _roll_back(run, segment)
        return
    await shielded(commit(run, number, segment), raise_error=True)
    run.applied += done


async def _roll_back(run: MigrationRun, segment: Segment) -> None:
    for name in segment.databases:
        await roll_back(run.sessions[name])


async def _run_without_transaction(run: MigrationRun, number: int, segment: Segment) -> None:
    """A step that begins and ends its own transactions; what it leaves half-way, it must find again."""
    (action,) = segment.actions
    run.hooks.before_segment(number, segment)
    try:
        run.applied.append(await _run_action(run, number, action))
        run.emit(Kind.COMMITTED, action.database, f"segment {number}")
    except _StepFailedError as failed:
        await roll_back(run.sessions[action.database])
        if failed.is_lock_conflict:
            raise await lock_timeout_error(run, action, failed.error, 1) from failed.error
        raise await step_error(run, action, failed.error) from failed.error
    finally:
        await roll_back(run.sessions[action.database])


async def _run_action(run: MigrationRun, segment: int, action: Action) -> AppliedAction:
    run.step_number += 1
    run.emit(Kind.STARTED, action.database, describe(action))
    begun = time.monotonic()
    elsewhere = {name: heads for name, heads in run.current.items() if name != action.database}
    at = run.current[action.database]

    def record(connection: Connection) -> None:
        journal = run.journals.get(action.database)
        if journal is None:
            return
        seconds = time.monotonic() - begun
        connection.exec_driver_sql(*journal.insert_step_sql(run.id, segment, action, seconds, elsewhere))

    def act(connection: Connection) -> None:
        run.hooks.before_step(connection, action)
        run.runners[action.database].run(connection, action, at, record)
        run.hooks.after_step(connection, action)

    try:
        async with one_at_a_time():
            await run.sessions[action.database].connection.run_sync(act)
    except MigrateError:
        raise
    except KeyboardInterrupt:  # a signal that found the step busy in Python, and not waiting for the server
        raise asyncio.CancelledError from None
    except (Exception, SystemExit) as error:
        raise _StepFailedError(action, error) from error
    run.current[action.database] = action.heads_after(run.deployment.forest.graphs[action.database], at)
    seconds = time.monotonic() - begun
    run.emit(Kind.DONE, action.database, describe(action), seconds)
    return AppliedAction(action, seconds)


async def _check_deferred(run: MigrationRun, name: str) -> None:
    """Let deferred constraints fail now, while every database can still be rolled back."""
    try:
        await run.sessions[name].connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    except Exception as error:
        raise MigrationFailed(
            f"{name}: a deferred constraint does not hold at the end of the segment",
            database=name,
            detail=server_message(error),
            state=await describe_current_revisions(run.deployment, tuple(run.sessions)),
        ) from error
