"""Execute plans: every step, in any direction, runs on a database through this module.

`execute` locks the databases, reads their current revisions under the lock, calls the planner with them and
runs the plan segment by segment. The transactions of a segment stay open on every database until all its
steps have succeeded; then they are committed (see `commit`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.events import EventKind, Notify
from circle_migrate.core.shield import shield
from circle_migrate.migrate import failure, guards
from circle_migrate.migrate.action import ensure_constraints, run_action
from circle_migrate.migrate.alembic_adapter.context import VersionTable, proxies_lock
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.migrate.changed_schema import AssessDrift, report_drift
from circle_migrate.migrate.commit import commit, commit_applied, ensure_atomic_possible, roll_back
from circle_migrate.migrate.contradictions import ensure_agreement, ensure_not_edited
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.run import (
    AppliedAction,
    Checkpoint,
    Hooks,
    MigrationRun,
    find_drift,
    finish_run,
    keep_lock,
    start_run,
)
from circle_migrate.migrate.session import (
    ensure_not_cluster_wide,
    monitor,
    step_settings,
    working_session,
)
from circle_migrate.postgres.deployer_lock import deployer_lock
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.revision_graph.plan import Action, Plan, Segment, Step

if TYPE_CHECKING:
    from circle_migrate.migrate.protection import ProtectionGuard

MakePlan = Callable[[Current], Plan]
"""Returns the plan from the current revisions, which were read under the lock."""

MAX_ATTEMPTS = 30
"""Attempts of a segment that does not get its locks."""

_BACKOFF = (0.2, 5.0)
"""The first and the longest pause between two attempts, in seconds, before jitter."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The plan that a run made under the lock, its actions in the order in which they ran, and warnings."""

    run: str
    plan: Plan
    applied: tuple[AppliedAction, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of `execute` besides the settings of the deployment.

    `verify_identity` is off for a stamp that repairs a version table with unknown revisions. `allow_edited`
    accepts files that differ from the applied ones. `guard` refuses protected databases. `notes`, to which
    hooks may add in `before_run`, are stored as JSON with the run in the journal. `assess_drift` decides on
    schemas that were changed by hand. `checkpoint` is for tests that end the process. A `rehearsal` rolls
    back where a run commits, and writes no journal; its plan must have one segment, in a transaction.
    """

    command: str
    verify_identity: bool = True
    allow_edited: bool = False
    rehearsal: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    guard: ProtectionGuard | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    assess_drift: AssessDrift = report_drift
    checkpoint: Checkpoint = lambda _name: None


async def execute(
    deployment: Deployment, databases: tuple[str, ...], planner: MakePlan, notify: Notify, options: RunOptions
) -> RunResult:
    """Lock the databases, plan from their current revisions and run the plan.

    Raises the errors of the planner and the hooks, and those of a run with the state of the databases.
    """
    run = MigrationRun(
        *(deployment, options.command, notify, options.checkpoint, options.hooks, options.rehearsal),
        task=asyncio.current_task(),
    )
    async with AsyncExitStack() as stack:
        stack.push(run.translate_cancellation)
        await _connect_and_lock(run, databases, stack)
        current = {name: state.current for name, state in run.states.items()}
        plan = planner(guards.verify_identity(deployment, run.states) if options.verify_identity else current)
        if plan:
            await _prepare(run, plan, options)
            await _run_segments(run, plan)
    return RunResult(run.id, plan, tuple(run.applied), tuple(run.warnings))


async def _connect_and_lock(run: MigrationRun, databases: tuple[str, ...], stack: AsyncExitStack) -> None:
    """Connect to every database, lock it and read its state, in the order of the deployment."""
    settings = run.deployment.settings
    for name in databases:
        session_context = working_session(run.deployment.databases[name], run.id, settings.lock_timeout)
        run.sessions[name] = await stack.enter_async_context(session_context)
        run.sessions[name].adapter.before_sending = run.pending_end.pending
        if run.deployment.is_server_shared:
            await run.sessions[name].connection.run_sync(ensure_not_cluster_wide, name)
    for name, session in run.sessions.items():
        await stack.enter_async_context(deployer_lock(session.driver, name, settings.lock_wait, run.notify))
    for name, session in run.sessions.items():
        database = run.deployment.databases[name]
        await stack.enter_async_context(monitor(database, session, run.observe, run.abort))
        run.states[name] = await database.read_state(session.driver)
    guards.ensure_not_in_doubt(run.states)
    for name, state in run.states.items():
        for gid in state.not_ours:
            run.warn(f"{guards.describe_not_ours(name, gid)}; it is left as it is")


async def _prepare(run: MigrationRun, plan: Plan, options: RunOptions) -> None:
    """Check everything that can refuse the plan, then record the run in the journal."""
    run.step_count = len(plan.actions)
    run.current = dict(plan.current)
    if run.rehearsal and [segment.transactional for segment in plan.segments] != [True]:
        raise ValueError("the plan of a rehearsal must have one segment, in a transaction")
    overridden = {}
    if options.guard is not None:
        options.guard.ensure_unprotected(run.states, plan.databases)
        overridden = options.guard.notes(run.states, plan.databases)
    limit = 0.0 if run.rehearsal else run.deployment.settings.statement_timeout  # a rehearsal has its own
    for name in plan.databases:
        guards.ensure_writable(run.states[name])
        guards.ensure_own_tables({name: run.states[name]})
        database = run.deployment.databases[name]
        table = VersionTable(database.settings.version_table, run.states[name].schema)
        graph = run.deployment.combined_graph.graphs[name]
        with proxies_lock:
            run.runners[name] = Runner(graph, table, plan.steps(name), database.settings, limit)
        if not run.rehearsal:
            run.journals[name] = Journal(database, run.states[name])
    await ensure_atomic_possible(run, plan)
    if not options.allow_edited and any(isinstance(action, Step) for action in plan.actions):
        await ensure_not_edited(run)
    journaled = {name: run.states[name] for name in run.journals}
    await ensure_agreement(run.deployment, journaled, plan, run.sessions)
    await find_drift(run, plan, options.assess_drift)
    await run.hooks.before_run(run, plan)
    if not run.rehearsal:
        await start_run(run, plan, {**options.notes, **overridden})


async def _run_segments(run: MigrationRun, plan: Plan) -> None:
    segment = plan.segments[0]
    try:
        for name in plan.databases:  # the start of the run may have moved the journal
            database = run.deployment.databases[name]
            runner = run.runners[name]
            runner.begin_sql, runner.reset_sql = await step_settings(database, run.sessions[name].driver)
        for number, segment in enumerate(plan.segments, 1):
            if segment.transactional:
                await _run_in_transactions(run, number, segment)
            else:
                await _run_without_transaction(run, number, segment)
    except asyncio.CancelledError:
        error = await failure.interrupted_error(run, segment)
        await finish_run(run, "interrupted", error)
        raise error from None
    except MigrateError as error:
        await finish_run(run, "failed", error)
        raise
    run.is_committed = not run.rehearsal
    await shield(finish_run(run, "done"), raise_error=True)


async def _run_in_transactions(run: MigrationRun, number: int, segment: Segment) -> None:
    """Run a segment, again from its beginning where it did not get its locks."""
    deadline = time.monotonic() + run.deployment.settings.lock_wait
    for attempt in range(1, MAX_ATTEMPTS + 1):
        run.hooks.before_segment(number, segment)
        try:
            await _try_segment(run, number, segment)
        except failure.StepFailedError as failed:
            pause = min(_BACKOFF[0] * 2 ** (attempt - 1), _BACKOFF[1]) * random.uniform(0.5, 1.0)  # noqa: S311
            is_last = attempt == MAX_ATTEMPTS or time.monotonic() + pause > deadline
            changes = await failure.remaining_changes(run, failed.action.database)
            if is_last or changes or not failure.is_lock_conflict(failed.error):
                raise await failure.failed_step_error(run, failed, attempt) from failed.error
            text = f"rolled back, attempt {attempt + 1} in {pause:.1f} s"
            run.emit(EventKind.RETRY, failed.action.database, text)
            await asyncio.sleep(pause)
            await keep_lock(run, failed.action)
        else:
            return


async def _try_segment(run: MigrationRun, number: int, segment: Segment) -> None:
    step_number, current = run.step_number, dict(run.current)
    counts = {name: journal.step_count for name, journal in run.journals.items()}
    sessions = [run.sessions[name] for name in segment.databases]
    try:
        for session in sessions:
            await session.connection.begin()
        last = {action.database: action for action in segment.actions}
        done = [
            await run_action(run, number, action, is_last=action is last[action.database])
            for action in segment.actions
        ]
        await run.pending_end.settle()
        for name, action in last.items():  # the commit must not fail on one database alone
            if run.runners[name].has_deferrable:
                await ensure_constraints(run, action, before_commit=True)
    except BaseException as error:
        run.step_number, run.current = step_number, current
        for name, count in counts.items():
            run.journals[name].step_count = count
            run.runners[name].has_deferrable = True  # the rollback may restore some
        try:
            await run.pending_end.stop(cancel=not isinstance(error, Exception))
        finally:
            for session in sessions:
                await roll_back(session)
        raise
    if run.rehearsal:
        for session in sessions:
            await roll_back(session)
        return
    await shield(commit(run, number, segment), raise_error=True)
    run.applied += done


async def _run_without_transaction(run: MigrationRun, number: int, segment: Segment) -> None:
    """Run a step that begins and ends its own transactions, also after an interrupted attempt of it."""
    (action,) = segment.actions
    session = run.sessions[action.database]
    run.hooks.before_segment(number, segment)
    try:
        applied = await run_action(run, number, action, is_last=True)
    except failure.StepFailedError as failed:
        await roll_back(session)  # the error reports the state after it
        runner = run.runners[action.database]
        is_committing = runner.transcript is not None and runner.transcript.failing == "COMMIT"
        if failed.is_lost and is_committing and await _is_recorded(run, number, action):
            runner.transcript = None  # all of it is committed
        raise await failure.failed_step_error(run, failed) from failed.error
    else:
        if not await _is_recorded(run, number, action):
            raise await failure.not_recorded_error(run, action)
        run.stays = ()
        run.applied.append(applied)
        run.emit(EventKind.COMMITTED, action.database, f"segment {number}")
    finally:
        await roll_back(session)
        with suppress(Exception):  # the server may be lost; then there is no session either
            await session.driver.execute(run.runners[action.database].reset_sql)


async def _is_recorded(run: MigrationRun, number: int, action: Action) -> bool:
    """Roll back what the step of a segment left open; return whether its version row is committed."""
    session = run.sessions[action.database]
    await roll_back(session)
    try:
        return bool(await run.journals[action.database].has_committed(session.driver, run.id, number))
    except Exception as error:  # noqa: BLE001 - a new connection is asked
        return await commit_applied(run, number, action.database, error)
