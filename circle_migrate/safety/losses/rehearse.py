"""Run a downgrade on the live databases, in transactions that are always rolled back.

Other sessions wait for the tables that a step has locked until the rollback, after at most `seconds`. Steps
that cannot run in a transaction are left out, and statements with effects that a rollback does not undo, on
sequences or outside of the database. Rolled back rows leave dead tuples for VACUUM.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import asyncpg
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from circle_migrate.core.errors import Interrupted, LockNotObtained, MigrateError, NotWritable, Unreachable
from circle_migrate.core.events import Event, EventKind, Notify
from circle_migrate.migrate.planner import ensure_same_plan
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.bounded_read import milliseconds
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.revision_graph.plan import Action, Plan, Segment, Stamp, Step
from circle_migrate.safety.losses.catalog_losses import CatalogAddresses, CatalogWatch
from circle_migrate.safety.losses.predict import TRUNCATED, TypeConversionProbe
from circle_migrate.safety.losses.report import Count, Effect, Failure, Loss, LossNamer, Method
from circle_migrate.safety.trace.record import TracedStatement

_Counters = Mapping[int, "asyncpg.Record"]

_INCOMPLETE = "the rehearsal did not finish"
_GRACE_SECONDS = 1.0
_CANCELLED = "57014"
_NOT_ROLLED_BACK = re.compile(r"\b(?:setval\s*\(|dblink|PROGRAM\b|lo_(?:import|export)\b)", re.IGNORECASE)

# The counters are those of the current transaction. TRUNCATE gives a table a new, empty file.
_WRITTEN = """
SELECT quote_ident(s.schemaname) || '.' || quote_ident(s.relname) AS name, s.relid::bigint AS oid,
       n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_del AS deleted,
       pg_relation_filenode(s.relid)::bigint AS file, pg_relation_size(s.relid) = 0 AS empty
FROM pg_catalog.pg_stat_xact_user_tables s
"""
_SEQUENCES = """
SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) AS name, last_value
FROM pg_catalog.pg_sequences
"""


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The number of rows of a table that a step inserted, updated and deleted."""

    database: str
    revision: str
    relation: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    truncated: bool = False


@dataclass(slots=True)
class Rehearsal:
    """The result of a rehearsal.

    `skipped` has the reasons for revisions that were left out, `completed` the revisions that ran, both as
    `database@id`. `advanced` are the advanced sequences with their databases, `altered` the numbers of values
    that conversions altered, by database and column.
    """

    watch: CatalogWatch
    skipped: Mapping[str, str]
    completed: set[str] = field(default_factory=set)
    rows: list[RowChanges] = field(default_factory=list)
    advanced: set[tuple[str, str]] = field(default_factory=set)
    altered: dict[tuple[str, str], int] = field(default_factory=dict)
    failure: Failure | None = None
    note: str = ""

    def losses(self, namers: Mapping[str, LossNamer]) -> Iterator[Loss]:
        """Yield the losses of deleted and changed rows."""
        for rows in self.rows:
            key, namer = ObjectKey("table", rows.relation), namers[rows.database]
            if rows.truncated:
                yield namer.loss(key, Effect.DELETED, rows.revision, TRUNCATED)
            for effect, number in ((Effect.DELETED, rows.deleted), (Effect.UPDATED, rows.updated)):
                if number:
                    yield replace(namer.loss(key, effect, rows.revision), rows=Count(number))


async def rehearse(
    deployment: Deployment, plan: Plan, statements: Iterable[TracedStatement], seconds: float, notify: Notify
) -> Rehearsal:
    """Run the plan on the live databases and roll it back; return its effects.

    `statements` are those of a trace of the plan. Raises what connecting raises, `NotWritable`, `Refused`
    where the databases have changed, and `Interrupted`.
    """
    from circle_migrate.migrate.executor import RunOptions, execute

    steps = [action for action in plan.actions if isinstance(action, Step)]
    skipped = {
        step.revision.qualified: f"it cannot run in a transaction: {step.revision.non_transactional_reason}"
        for step in steps
        if step.revision.non_transactional_reason is not None
    }
    for statement in statements:
        if (match := _NOT_ROLLED_BACK.search(statement.sql)) is not None:
            skipped[statement.qualified] = f"a rollback does not undo {match[0].rstrip(' (')}"
    rehearsed = _rehearsable(deployment, plan, skipped)
    rehearsal = Rehearsal(CatalogWatch(rehearsed), skipped)
    if all(step.revision.qualified in skipped for step in steps):
        return rehearsal
    hooks = _RehearsalHooks(rehearsal, seconds, TypeConversionProbe(tuple(statements)))
    options = RunOptions("downgrade", allow_edited=True, rehearsal=True, hooks=hooks)

    def planner(current: Current) -> Plan:
        ensure_same_plan(rehearsed, replace(rehearsed, current=current))
        return rehearsed

    def notify_waits(event: Event) -> None:
        if event.kind is EventKind.WAITING:
            notify(event)

    try:
        settings = deployment.settings
        lock_timeout, lock_wait = min(settings.lock_timeout, seconds), min(settings.lock_wait, seconds)
        changes = {"atomic": False, "lock_timeout": lock_timeout, "lock_wait": lock_wait}
        settings = settings.model_copy(update=changes)
        limited = Deployment(settings, deployment.selected)
        await execute(limited, tuple(plan.current), planner, notify_waits, options)
    except (Interrupted, NotWritable, Unreachable):
        raise
    except LockNotObtained as error:
        rehearsal.note = f"{_INCOMPLETE}: {error.message}"
    except MigrateError as error:
        if hooks.running is None:
            raise
        if sqlstate(error.__cause__) == _CANCELLED:
            rehearsal.note = f"{_INCOMPLETE}: {_timeout_message(seconds)}"
        else:
            revision = hooks.running.revision.id if isinstance(hooks.running, Step) else ""
            message = ": ".join(filter(None, (error.message, error.detail)))
            database, location = hooks.running.database, error.location
            rehearsal.failure = Failure(database, revision, Method.REHEARSAL, message, location)
    finally:
        hooks.stop()
    return rehearsal


def _rehearsable(deployment: Deployment, plan: Plan, skipped: Mapping[str, str]) -> Plan:
    """Return the plan as one segment, with a stamp for each step that is left out."""
    heads = dict(plan.current)
    actions: list[Action] = []
    for action in plan.actions:
        name = action.database
        heads[name] = action.heads_after(deployment.combined_graph.graphs[name], heads[name])
        is_skipped = isinstance(action, Step) and action.revision.qualified in skipped
        actions.append(Stamp(name, heads[name]) if is_skipped else action)
    return replace(plan, segments=(Segment(tuple(actions), transactional=True),))


def _timeout_message(seconds: float) -> str:
    return f"it took longer than {seconds:g} s (--rehearse-timeout)"


class _RehearsalHooks(Hooks):
    """Hooks that record catalogs and rows within the transactions, and end these in time."""

    _run: MigrationRun

    def __init__(self, rehearsal: Rehearsal, seconds: float, conversions: TypeConversionProbe) -> None:
        self.running: Action | None = None
        self._rehearsal = rehearsal
        self._seconds = seconds
        self._conversions = conversions
        self._timer: asyncio.TimerHandle | None = None
        self._rows: dict[str, _Counters] = {}
        self._sequences: dict[str, dict[str, int | None]] = {}

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Set timeouts on every database, and record its catalog before the plan runs."""
        self._run = run
        for name in plan.databases:
            driver = run.sessions[name].driver
            # The second timeout ends a step that is busy in Python, where our own timer cannot run.
            await driver.execute(
                f"SET statement_timeout = {milliseconds(self._seconds)};"
                f"SET idle_in_transaction_session_timeout = {milliseconds(self._seconds + _GRACE_SECONDS)}"
            )
            reader = CatalogReader(driver, run.deployment.databases[name].settings)
            await self._rehearsal.watch.begin(name, reader)
            self._sequences[name] = await _sequences(driver)

    def before_segment(self, number: int, segment: Segment) -> None:  # noqa: ARG002 - as declared
        """Start the timer, as other sessions may wait from here on."""
        self.stop()
        self._rehearsal.rows.clear()
        self._rehearsal.completed.clear()
        self._rehearsal.altered.clear()
        self._rows.clear()
        timeout = LockNotObtained(_timeout_message(self._seconds))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._run.abort, timeout)

    def before_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """Copy the values that the step converts, and read the row counters before the first step."""
        self.running = action
        driver = self._run.sessions[action.database].driver
        if isinstance(action, Step):
            await_only(self._conversions.before(driver, action.database, action.revision.id))
        if action.database not in self._rows:
            self._rows[action.database] = await_only(_counters(driver))

    def after_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """Record the catalog after the step, and its changes of rows and sequences."""
        if not isinstance(action, Step):
            return
        name, rehearsal = action.database, self._rehearsal
        driver = self._run.sessions[name].driver
        altered = await_only(self._conversions.after(driver))
        rehearsal.altered |= {(name, column): number for column, number in altered.items()}
        rehearsal.watch.record_after_step(action)
        before, after = self._rows[name], await_only(_counters(driver))
        rehearsal.rows += _row_changes(action, before, after, rehearsal.watch.before[name])
        self._rows[name] = after
        rehearsal.completed.add(action.revision.qualified)
        now = await_only(_sequences(driver))
        for sequence, value in self._sequences[name].items():
            if now.get(sequence, value) != value:
                rehearsal.advanced.add((name, sequence))

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


def _row_changes(
    step: Step, before: _Counters, after: _Counters, catalog: CatalogAddresses
) -> Iterator[RowChanges]:
    """Yield the changes of rows by a step; of a table that the plan creates, inserts only."""
    names = {address[1]: key.identity for key, address in catalog.addresses.items() if key.kind == "table"}
    for oid, now in after.items():
        then = before.get(oid)
        name = names.get(oid)
        counts = {
            column: max(0, now[column] - (then[column] if then else 0))
            for column in ("inserted", "updated", "deleted")
        }
        if name is not None and then is not None:
            emptied = then["file"] != now["file"] and now["empty"] and not then["empty"]
            if emptied or any(counts.values()):
                yield RowChanges(step.database, step.revision.id, name, **counts, truncated=emptied)
        elif then is None and counts["inserted"]:
            yield RowChanges(step.database, step.revision.id, now["name"], inserted=counts["inserted"])


async def _counters(driver: asyncpg.Connection) -> _Counters:
    return {row["oid"]: row for row in await driver.fetch(_WRITTEN)}


async def _sequences(driver: asyncpg.Connection) -> dict[str, int | None]:
    return {row["name"]: row["last_value"] for row in await driver.fetch(_SEQUENCES)}
