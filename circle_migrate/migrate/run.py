"""A run of the executor: its state, its hooks, and its records in the journals."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.core.errors import Interrupted, LockNotObtained, MigrateError
from circle_migrate.core.events import Event, EventKind, Notify
from circle_migrate.core.redaction import redact
from circle_migrate.migrate.active_run import step_name
from circle_migrate.migrate.changed_schema import (
    AssessDrift,
    Drift,
    find_change_or_problem,
    fingerprint_after,
)
from circle_migrate.migrate.guards import journal_error
from circle_migrate.migrate.half_done import half_done
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.pending_end import PendingEnd
from circle_migrate.postgres.database import Database, State
from circle_migrate.postgres.deployer_lock import CHECK_HELD, RELEASED, acquire, find_lock_holder
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal
from circle_migrate.revision_graph.plan import Action, Plan, Segment, Stamp, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.migrate.alembic_adapter.runner import Runner
    from circle_migrate.migrate.session import Session

Checkpoint = Callable[[str], None]
"""Called with the name of a point of the commit protocol, where tests end the process."""


class Hooks:
    """Methods that the executor calls; here they call those of other hooks. Their errors end the run."""

    _hooks: tuple[Hooks, ...] = ()

    def __init__(self, *hooks: Hooks) -> None:
        self._hooks = hooks

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Act under the deployer locks, when every check has passed and no step has run."""
        for hook in self._hooks:
            await hook.before_run(run, plan)

    def before_segment(self, number: int, segment: Segment) -> None:
        """Act before every attempt of a segment; `number` starts at 1."""
        for hook in self._hooks:
            hook.before_segment(number, segment)

    def act_on(self, action: Action) -> bool:
        """Return whether `before_step` or `after_step` do something for the action."""
        own = type(self).before_step, type(self).after_step
        is_own = own != (Hooks.before_step, Hooks.after_step)
        return is_own or any(hook.act_on(action) for hook in self._hooks)

    def before_step(self, connection: Connection, action: Action) -> None:
        """Act before the action, in its transaction; where it has none, the method may leave none open."""
        for hook in self._hooks:
            hook.before_step(connection, action)

    def after_step(self, connection: Connection, action: Action) -> None:
        """Act after the action and its version row; transactions are as for `before_step`."""
        for hook in self._hooks:
            hook.after_step(connection, action)


@dataclass(frozen=True, slots=True)
class AppliedAction:
    """An action that was committed, and its duration in seconds."""

    action: Action
    seconds: float


@dataclass(slots=True)
class MigrationRun:
    """The state of a run; `blockers` has the last sessions that a step waited for, by database.

    `drift` has the schemas that were changed by hand, `fingerprints` those to record if no revision is set.
    `unfinished` is the step that began last, and
    `stays` what it has committed before its end, None if that is not known. A `rehearsal` writes no journal
    and commits nothing. `is_committed` is true after the last segment.
    """

    deployment: Deployment
    command: str
    notify: Notify
    checkpoint: Checkpoint
    hooks: Hooks
    rehearsal: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sessions: dict[str, Session] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    journals: dict[str, Journal] = field(default_factory=dict)
    pending_end: PendingEnd = field(default_factory=PendingEnd)
    current: dict[str, tuple[str, ...]] = field(default_factory=dict)
    blockers: dict[str, str] = field(default_factory=dict)
    applied: list[AppliedAction] = field(default_factory=list)
    drift: dict[str, Drift] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    unfinished: Step | None = None
    stays: tuple[str, ...] | None = ()
    lost: MigrateError | None = None
    is_committed: bool = False
    task: asyncio.Task[object] | None = None
    step_number: int = 0
    step_count: int = 0

    def emit(self, kind: EventKind, database: str, text: str, seconds: float = 0.0) -> None:
        """Report progress."""
        self.notify(Event(kind, database, text, self.step_number, self.step_count, seconds))

    def begin(self, action: Action) -> None:
        """Count and report an action that begins, and let the name of its session have its number."""
        self.step_number += 1
        if isinstance(action, Step):
            name = step_name(self.id, self.step_number, self.step_count, action.revision.id)
            self.runners[action.database].name_sql = f";SET application_name = {literal(name)}"
        self.emit(EventKind.STARTED, action.database, describe(action))

    def observe(self, kind: EventKind, database: str, text: str) -> None:
        """Report what a server does, and record for whom it waits."""
        if kind is EventKind.WAITING:
            self.blockers[database] = f"{kind} {text}"
        self.emit(kind, database, text)

    def warn(self, text: str) -> None:
        """Log a warning, and add it to the result."""
        self.warnings.append(text)
        logging.getLogger("circle_migrate").warning(text)

    def translate_cancellation(
        self, kind: type[BaseException] | None, _error: object, _trace: object
    ) -> bool:
        """Raise the lost server's error for its cancellation; return whether all had been committed."""
        if kind is not asyncio.CancelledError or self.lost is None:
            return False
        if self.is_committed and self.task is not None:
            self.task.uncancel()
            return True
        raise self.lost

    def abort(self, error: MigrateError) -> None:
        """End the run because a server was lost."""
        self.lost = self.lost or error
        if self.task is not None:
            self.task.cancel()


def describe(action: Action) -> str:
    """Return the action as a phrase for progress and messages."""
    if isinstance(action, Stamp):
        verb = "stamp" if action.sets_revisions else "stay at"
        return f"{verb} {', '.join(action.heads) or 'base'}"
    return f"{action.function} {action.revision.id} {action.revision.message}".rstrip()


async def describe_current_revisions(run: MigrationRun, seconds: float | None = None) -> str:
    """Read the current revisions on new connections, note them in the run and return them as a sentence.

    A server that does not answer within `seconds` counts as one that does not answer.
    """

    async def read(database: Database) -> tuple[str, ...] | None:
        try:
            async with asyncio.timeout(seconds):
                return (await database.state()).current
        except (MigrateError, TimeoutError):
            return None

    currents = await run.deployment.query_each(tuple(run.sessions), read)
    known = {name: current for name, current in currents.items() if isinstance(current, tuple)}
    run.current.update(known)
    return ", ".join(
        f"{name} is at {', '.join(known[name]) or 'base'}" if name in known else f"{name} does not answer"
        for name in currents
    )


async def keep_lock(run: MigrationRun, action: Action, answer: str = "") -> None:
    """Take the deployer lock again if the action has released it; `answer` is that to `CHECK_HELD`, if known.

    Raises `LockNotObtained` if another session holds it.
    """
    name, driver = action.database, run.sessions[action.database].driver
    if (answer or await driver.execute(CHECK_HELD)) != RELEASED:
        return
    text = f"{name}: {describe(action)} has released the deployer lock"
    if not await acquire(driver):
        raise LockNotObtained(
            f"{text}, and another session holds it now: {await find_lock_holder(driver) or 'unknown'}",
            database=name,
            location=action.revision.location if isinstance(action, Step) else None,
            state=await describe_current_revisions(run),
            hint="remove what releases it, such as pg_advisory_unlock_all or DISCARD ALL, from the revision; "
            "when the other session has ended, run the same command again",
        )
    run.warn(f"{text}, which is held again; another deployer may have run meanwhile")


async def start_run(run: MigrationRun, plan: Plan, notes: Mapping[str, object]) -> None:
    """Record the run in every journal, and its end if that fails. Raises the errors of `journal_error`."""
    mode = run.deployment.commit_mode
    planned = {
        name: tuple(describe(action) for action in plan.actions if action.database == name)
        for name in plan.databases
    }
    await _close_lost(run)
    try:
        for name, journal in run.journals.items():
            driver = run.sessions[name].driver
            try:
                await journal.ensure(driver)
                own_notes = {**notes, **run.drift[name].note()} if name in run.drift else notes
                await journal.start_run(driver, run.id, run.command, mode, planned, own_notes)
            except MigrateError:
                raise
            except Exception as error:
                raise journal_error(run.states[name], error, is_lost=driver.is_closed()) from error
        for name, steps in planned.items():
            run.notify(Event(EventKind.PLANNED, name, mode, total=run.step_count, steps=steps))
    except MigrateError as error:
        await finish_run(run, "failed", error)
        raise
    except BaseException:
        await finish_run(run, "interrupted", Interrupted("interrupted before the first step"))
        raise


async def _close_lost(run: MigrationRun) -> None:
    """Mark runs that have no end as lost: this run holds all deployer locks, so no other run is active."""
    for name, state in run.states.items():
        if state.journal_of is None or state.standby or state.read_only:
            continue
        journal = Journal(run.deployment.databases[name], state)
        for key in await journal.lost_runs(run.sessions[name].driver, mark=True):
            run.warn(f"{name}: run {key[:8]} never ended; the journal has it as lost now")


async def finish_run(run: MigrationRun, outcome: str, error: MigrateError | None = None) -> None:
    """Record the end of the run in every journal; where a server fails, the next run marks it as lost."""
    text = "\n".join(map(redact, filter(None, [error.message, error.detail]))) if error else None
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        fingerprint = await _fingerprint(run, name, seconds=2.0 if error else 30.0)
        end = (run.id, outcome, text, fingerprint, run.stays, run.unfinished)
        try:
            async with asyncio.timeout(2):
                if not driver.is_closed():
                    await journal.finish_run(driver, *end)
                    continue
                async with run.deployment.databases[name].connected() as connection:
                    await journal.finish_run(connection, *end)
        except Exception:  # noqa: BLE001, S112 - the next run marks it as lost
            continue


async def _fingerprint(run: MigrationRun, name: str, seconds: float) -> str | None:
    """Return the fingerprint to record, None for a database on which the run has set no revision."""
    if run.deployment.is_scratch:
        return None
    actions = [applied.action for applied in run.applied if applied.action.database == name]
    if not any(isinstance(action, Step) or action.sets_revisions for action in actions):
        return run.fingerprints.get(name)
    driver, state = run.sessions[name].driver, run.states[name]
    return await fingerprint_after(driver, state, run.current[name], run.drift.get(name), seconds)


async def find_drift(run: MigrationRun, plan: Plan, assess: AssessDrift) -> None:
    """Record how schemas have changed since the last run, with a warning. Raises what `assess` raises."""
    changes = {}
    moved = {item.database for item in plan.actions if isinstance(item, Step) or item.sets_revisions}
    for name in (name for name in run.journals if name in moved):
        state, driver = run.states[name], run.sessions[name].driver
        unfinished = bool(half_done(run.deployment.combined_graph.graphs[name], state))
        change = await find_change_or_problem(run.journals[name], driver, state, half_done=unfinished)
        if change:
            changes[name] = change
    run.drift.update(await assess(run.states, changes) if changes else {})
    for drift in run.drift.values():
        if drift.text:
            run.warn(drift.text)
