"""The downgrade on the live databases, in transactions that are always rolled back.

Everybody who wants a table that a step has locked waits until the rollback, which therefore comes after
`seconds` at the latest. What no rollback undoes is left out: steps that cannot run in a transaction, and
statements that set sequences or reach out of the database. Rolled back rows leave room for VACUUM to clear.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlalchemy.util import await_only

from circle_migrate.core.errors import Interrupted, LockNotObtained, MigrateError, NotWritable, Unreachable
from circle_migrate.core.events import Event, Kind, Notify
from circle_migrate.migrate.planner import ensure_same_plan
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.bounded_read import milliseconds
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.revision_graph.plan import Action, Plan, Segment, Stamp, Step
from circle_migrate.safety.losses.catalog_outcome import Catalogue
from circle_migrate.safety.losses.predict import TRUNCATED
from circle_migrate.safety.losses.report import Count, Effect, Failure, Loss, LossNamer, Method
from circle_migrate.safety.losses.type_conversion import TypeConversionProbe
from circle_migrate.safety.losses.watch_catalog import CatalogWatch

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.safety.trace.record import TracedStatement

_Counters = Mapping[int, "asyncpg.Record"]

_CUT_OFF = "not rehearsed to the end"
_GRACE_SECONDS = 1.0
_CANCELLED = "57014"
_NOT_ROLLED_BACK = re.compile(r"\b(?:setval\s*\(|dblink|PROGRAM\b|lo_(?:import|export)\b)", re.IGNORECASE)

# The counters are those of the running transaction alone. TRUNCATE gives a table a new file, an empty one.
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
class Rows:
    """What one step did to the rows of one table."""

    database: str
    revision: str
    relation: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    truncated: bool = False


@dataclass(slots=True)
class Rehearsal:
    """What a rehearsal saw; `skipped` has the reason for each revision that it left out.

    `done` are the revisions that ran, as `database@id`. `moved` are the sequences, each with its database,
    that are not where they were. `altered` has how many values of a column a conversion has made others.
    """

    watch: CatalogWatch
    skipped: Mapping[str, str]
    done: set[str] = field(default_factory=set)
    rows: list[Rows] = field(default_factory=list)
    moved: set[tuple[str, str]] = field(default_factory=set)
    altered: dict[tuple[str, str], int] = field(default_factory=dict)
    failure: Failure | None = None
    note: str = ""

    def losses(self, namers: Mapping[str, LossNamer]) -> Iterator[Loss]:
        """Yield the rows that were deleted and changed."""
        for rows in self.rows:
            key, namer = ObjectKey("table", rows.relation), namers[rows.database]
            if rows.truncated:
                yield namer.loss(key, Effect.DELETED, rows.revision, TRUNCATED)
            for effect, number in ((Effect.DELETED, rows.deleted), (Effect.UPDATED, rows.updated)):
                if number:
                    yield replace(namer.loss(key, effect, rows.revision), rows=Count(number))

    def inserted(self, database: str, revision: str, namer: LossNamer) -> str:
        """Describe where a step inserts rows: those of a table that it drops may be among them."""
        texts = [
            f"{rows.inserted:,} into {namer.name(rows.relation)}"
            for rows in self.rows
            if (rows.database, rows.revision) == (database, revision) and rows.inserted
        ]
        return f"the same revision inserts {', '.join(texts)}" if texts else ""


async def rehearse(
    deployment: Deployment, plan: Plan, statements: Iterable[TracedStatement], seconds: float, notify: Notify
) -> Rehearsal:
    """Run the plan on the live databases, roll it back, and say what it did.

    `statements` are those of a trace of the plan. Raises what connecting raises, `NotWritable`, `Refused`
    where the databases have changed, and `Interrupted`.
    """
    from circle_migrate.migrate.executor import RunOptions, execute

    skipped = {**_non_transactional(plan), **_not_rolled_back(statements)}
    rehearsed = _rehearsable(deployment, plan, skipped)
    rehearsal = Rehearsal(CatalogWatch(rehearsed), skipped)
    if not any(isinstance(action, Step) for action in rehearsed.actions):
        return rehearsal
    hooks = _RehearsalHooks(rehearsal, seconds, TypeConversionProbe(tuple(statements)))
    options = RunOptions("downgrade", allow_edited=True, rehearsal=True, hooks=hooks)

    def planner(current: Current) -> Plan:
        ensure_same_plan(rehearsed, replace(rehearsed, current=current))
        return rehearsed

    def waiting(event: Event) -> None:
        if event.kind is Kind.WAITING:
            notify(event)

    try:
        await execute(_bounded(deployment, seconds), tuple(plan.current), planner, waiting, options)
    except (Interrupted, NotWritable, Unreachable):
        raise
    except LockNotObtained as error:
        rehearsal.note = f"{_CUT_OFF}: {error.message}"
    except MigrateError as error:
        if hooks.running is None:
            raise
        if sqlstate(error.__cause__) == _CANCELLED:
            rehearsal.note = f"{_CUT_OFF}: {_took_too_long(seconds)}"
        else:
            rehearsal.failure = _failure(hooks.running, error)
    finally:
        hooks.stop()
    return rehearsal


def _non_transactional(plan: Plan) -> dict[str, str]:
    steps = (action for action in plan.actions if isinstance(action, Step))
    return {
        step.revision.qualified: f"it cannot run in a transaction: {step.revision.non_transactional_reason}"
        for step in steps
        if step.revision.non_transactional_reason is not None
    }


def _not_rolled_back(statements: Iterable[TracedStatement]) -> dict[str, str]:
    return {
        f"{statement.database}@{statement.revision}": f"no rollback undoes {match[0].rstrip(' (')}"
        for statement in statements
        if (match := _NOT_ROLLED_BACK.search(statement.sql)) is not None
    }


def _rehearsable(deployment: Deployment, plan: Plan, skipped: Mapping[str, str]) -> Plan:
    """The plan in one transaction for each database; of what is left out, only the version is written."""
    at = dict(plan.current)
    actions: list[Action] = []
    for action in plan.actions:
        name = action.database
        at[name] = action.heads_after(deployment.forest.graphs[name], at[name])
        left_out = isinstance(action, Step) and action.revision.qualified in skipped
        actions.append(Stamp(name, at[name]) if left_out else action)
    return replace(plan, segments=(Segment(tuple(actions), transactional=True),))


def _bounded(deployment: Deployment, seconds: float) -> Deployment:
    settings = deployment.settings._replace(
        atomic=False,
        lock_timeout=min(deployment.settings.lock_timeout, seconds),
        lock_wait=min(deployment.settings.lock_wait, seconds),
    )
    return Deployment(settings, deployment.selected[0] if len(deployment.selected) == 1 else None)


def _took_too_long(seconds: float) -> str:
    return f"it took longer than {seconds:g} s (--rehearse-timeout)"


def _failure(action: Action, error: MigrateError) -> Failure:
    revision = action.revision.id if isinstance(action, Step) else ""
    words = ": ".join(filter(None, (error.message, error.detail)))
    return Failure(action.database, revision, Method.REHEARSAL, words, error.location)


class _RehearsalHooks(Hooks):
    """Records catalogues and rows from within the transactions, and ends them in time."""

    def __init__(self, rehearsal: Rehearsal, seconds: float, retyping: TypeConversionProbe) -> None:
        self.running: Action | None = None
        self._rehearsal = rehearsal
        self._seconds = seconds
        self._retyping = retyping
        self._timer: asyncio.TimerHandle | None = None
        self._drivers: dict[str, asyncpg.Connection] = {}
        self._rows: dict[str, _Counters] = {}
        self._sequences: dict[str, dict[str, int | None]] = {}
        self._run: MigrationRun | None = None

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Limit the statements of every database, and record it before anything has run."""
        self._run = run
        for name in plan.databases:
            driver = self._drivers[name] = run.sessions[name].driver
            # The second one for a step that is busy in Python, where our own clock cannot strike.
            await driver.execute(
                f"SET statement_timeout = {milliseconds(self._seconds)};"
                f"SET idle_in_transaction_session_timeout = {milliseconds(self._seconds + _GRACE_SECONDS)}"
            )
            await self._rehearsal.watch.begin(run, name)
            self._sequences[name] = await _sequences(driver)

    def before_segment(self, number: int, segment: Segment) -> None:  # noqa: ARG002 - as declared
        """Start the clock: from here on others may wait for us."""
        self.stop()
        self._rehearsal.rows.clear()
        self._rehearsal.done.clear()
        self._rehearsal.altered.clear()
        self._rows.clear()
        if self._run is not None:
            timeout = LockNotObtained(_took_too_long(self._seconds))
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._run.abort, timeout)

    def before_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """Copy the values that the step converts, and count rows before the first step."""
        self.running = action
        driver = self._drivers[action.database]
        if isinstance(action, Step):
            await_only(self._retyping.before(driver, action.database, action.revision.id))
        if action.database not in self._rows:
            self._rows[action.database] = await_only(_counters(driver))

    def after_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """Record what the step has left, and what it did to rows and sequences."""
        if not isinstance(action, Step):
            return
        name, rehearsal = action.database, self._rehearsal
        driver = self._drivers[name]
        altered = await_only(self._retyping.after(driver))
        rehearsal.altered |= {(name, column): number for column, number in altered.items()}
        rehearsal.watch.record_after_step(action)
        before, after = self._rows[name], await_only(_counters(driver))
        rehearsal.rows += _difference(action, before, after, rehearsal.watch.before[name])
        self._rows[name] = after
        rehearsal.done.add(action.revision.qualified)
        now = await_only(_sequences(driver))
        moved = (key for key, value in self._sequences[name].items() if key in now and now[key] != value)
        rehearsal.moved.update((name, key) for key in moved)

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()


def _difference(step: Step, before: _Counters, after: _Counters, catalogue: Catalogue) -> Iterator[Rows]:
    """Yield what a step did to the rows of each table; a table that it creates only gets some."""
    names = {address[1]: key.identity for key, address in catalogue.addresses.items() if key.kind == "table"}
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
                yield Rows(step.database, step.revision.id, name, **counts, truncated=emptied)
        elif then is None and counts["inserted"]:
            yield Rows(step.database, step.revision.id, now["name"], inserted=counts["inserted"])


async def _counters(driver: asyncpg.Connection) -> _Counters:
    return {row["oid"]: row for row in await driver.fetch(_WRITTEN)}


async def _sequences(driver: asyncpg.Connection) -> dict[str, int | None]:
    return {row["name"]: row["last_value"] for row in await driver.fetch(_SEQUENCES)}
