"""One run of the executor: its state, its hooks, and its entries in the journals."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError
from circle_migrate.core.events import Event, Kind, Notify
from circle_migrate.migrate.guards import journal_error
from circle_migrate.migrate.journal import Journal
from circle_migrate.postgres.database import State
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Action, Plan, Segment, Stamp

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from circle_migrate.migrate.alembic_adapter.runner import Runner
    from circle_migrate.migrate.session import Session

_FINGERPRINT_SECONDS = 2.0
"""Time limit for the fingerprint of a schema; one of 5,000 tables takes 0.6 s."""

Checkpoint = Callable[[str], None]
"""Called with the name of each point of the commit protocol; tests end the process there."""


class Hooks:
    """Called by the executor at the points below; each does nothing unless it is overridden.

    Whatever one of them raises ends the run as if the step had raised it.
    """

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Under the deployer locks, when nothing refuses the plan and nothing of it has run.

        What it raises stops the run before anything was touched.
        """

    def before_segment(self, number: int, segment: Segment) -> None:
        """A segment, counted from 1, is about to run; again where it did not get its locks."""

    def before_step(self, connection: Connection, action: Action) -> None:
        """In the action's transaction, before it.

        For a step that cannot run in one it is outside of any, and must not leave one open.
        """

    def after_step(self, connection: Connection, action: Action) -> None:
        """In the action's transaction, after it and its version row; outside of any as above."""


class CompositeHooks(Hooks):
    """Several hooks as one, called in this order; the first that raises is the last that is called."""

    def __init__(self, *hooks: Hooks) -> None:
        self._hooks = hooks

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Call all."""
        for hook in self._hooks:
            await hook.before_run(run, plan)

    def before_segment(self, number: int, segment: Segment) -> None:
        """Call all."""
        for hook in self._hooks:
            hook.before_segment(number, segment)

    def before_step(self, connection: Connection, action: Action) -> None:
        """Call all."""
        for hook in self._hooks:
            hook.before_step(connection, action)

    def after_step(self, connection: Connection, action: Action) -> None:
        """Call all."""
        for hook in self._hooks:
            hook.after_step(connection, action)


@dataclass(frozen=True, slots=True)
class AppliedAction:
    """One action that was run and committed, and how long it took in seconds."""

    action: Action
    seconds: float


@dataclass(slots=True)
class MigrationRun:
    """The state of one run; `blockers` has what each database was last seen waiting for.

    A `rehearsal` keeps no journal and commits nothing.
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
    current: dict[str, tuple[str, ...]] = field(default_factory=dict)
    blockers: dict[str, str] = field(default_factory=dict)
    applied: list[AppliedAction] = field(default_factory=list)
    lost: MigrateError | None = None
    task: asyncio.Task[object] | None = None
    step_number: int = 0
    step_count: int = 0

    def emit(self, kind: Kind, database: str, text: str, seconds: float = 0.0) -> None:
        """Tell whoever shows progress."""
        self.notify(Event(kind, database, text, self.step_number, self.step_count, seconds))

    def observe(self, kind: Kind, database: str, text: str) -> None:
        """Tell what a server was seen doing; remember for whom it waited."""
        if kind is Kind.WAITING:
            self.blockers[database] = f"{kind} {text}"
        self.emit(kind, database, text)

    def translate_cancellation(
        self, kind: type[BaseException] | None, _error: object, _trace: object
    ) -> None:
        """On the way out of a run that was cancelled because a server has gone: say so instead."""
        if kind is asyncio.CancelledError and self.lost is not None:
            raise self.lost

    def abort(self, error: MigrateError) -> None:
        """End the run because a server has gone."""
        self.lost = self.lost or error
        if self.task is not None:
            self.task.cancel()


def describe(action: Action) -> str:
    """The action in a few words, for progress and messages."""
    if isinstance(action, Stamp):
        moves = action.claimed or action.disowned or action.purge
        return f"{'stamp' if moves else 'stay at'} {', '.join(action.heads) or 'base'}"
    verb = {"up": "upgrade", "down": "downgrade"}[action.direction]
    return f"{verb} {action.revision.id} {action.revision.message}".rstrip()


async def start_run(run: MigrationRun, plan: Plan, notes: Mapping[str, object]) -> None:
    """Record the run in every journal and report its steps. Raises the errors of `no_journal`."""
    mode = run.deployment.commit_mode
    planned = {
        name: tuple(describe(action) for action in plan.actions if action.database == name)
        for name in plan.databases
    }
    await _close_lost(run)
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        try:
            await journal.ensure(driver)
            await journal.start_run(driver, run.id, run.command, mode, planned, notes)
        except Exception as error:
            raise journal_error(run.states[name], error) from error
    for name, steps in planned.items():
        run.notify(Event(Kind.PLANNED, name, mode, total=run.step_count, steps=steps))


async def _close_lost(run: MigrationRun) -> None:
    """Mark runs that never ended as lost: we hold the deployer lock of every database, so none is alive."""
    for name, state in run.states.items():
        if state.journal_of is None or state.standby or state.read_only:
            continue
        journal = Journal(run.deployment.databases[name], state.schema)
        try:
            await journal.mark_lost(run.sessions[name].driver)
        except Exception as error:
            raise journal_error(state, error) from error


async def finish_run(run: MigrationRun, outcome: str, error: MigrateError | None = None) -> None:
    """Record in every journal how the run ended; where a server fails, the next run marks it as lost."""
    text = " ".join(filter(None, [error.message, error.detail])) if error else None
    for name, journal in run.journals.items():
        driver = run.sessions[name].driver
        fingerprint = await _fingerprint(run, name) if error is None else None
        try:
            async with asyncio.timeout(2):
                if not driver.is_closed():
                    await journal.finish_run(driver, run.id, outcome, text, fingerprint)
                    continue
                another = await run.deployment.databases[name].connect()
                try:
                    await journal.finish_run(another, run.id, outcome, text)
                finally:
                    another.terminate()
        except Exception:  # noqa: BLE001, S112 - see above
            continue


async def _fingerprint(run: MigrationRun, name: str) -> str | None:
    """Return the fingerprint of the schema that the run leaves, None where it fails or takes too long.

    A run that changed no revision keeps the fingerprint of the run before it.
    """
    from circle_migrate.postgres.catalog.fingerprint import schema_fingerprint

    try:
        async with asyncio.timeout(_FINGERPRINT_SECONDS):
            if run.current[name] == run.states[name].current:
                return await run.journals[name].last_fingerprint(run.sessions[name].driver)
            return await schema_fingerprint(run.sessions[name].driver, run.states[name], run.current[name])
    except Exception:  # noqa: BLE001 - the run has succeeded, with or without it
        return None
