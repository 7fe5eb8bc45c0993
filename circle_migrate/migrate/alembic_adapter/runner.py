"""Run, stamp and render the steps of one database."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from inspect import signature
from io import StringIO
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from alembic.runtime.migration import RevisionStep
from alembic.script import Script
from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionMap
from sqlalchemy import event
from sqlalchemy.util import await_only

from circle_migrate.config.object_reference import import_modules
from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.core.errors import MigrateError, Refused, text_of
from circle_migrate.core.shield import end_if_signalled
from circle_migrate.migrate.alembic_adapter.config import environment_of, naming_options
from circle_migrate.migrate.alembic_adapter.context import Context, Transcript, VersionTable, bind_revision
from circle_migrate.migrate.alembic_adapter.stamp import stamp_sql, write_stamp
from circle_migrate.migrate.alembic_adapter.step_end import StepEnd, Unexpected, insert_row, version_changes
from circle_migrate.migrate.half_done import STEP_SETTING
from circle_migrate.postgres.bounded_read import milliseconds
from circle_migrate.postgres.deployer_lock import CHECK_HELD, HELD, RELEASED
from circle_migrate.postgres.identifier import Constant, literal
from circle_migrate.postgres.search_path import CONFIGURED, PINNED
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.modules import ExitCalled, failing_line, module_with
from circle_migrate.revision_graph.plan import Action, Direction, Segment, Stamp, Step

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.simple_protocol import Adapter

_LOG = logging.getLogger(__name__)
_ALEMBIC_LOG = logging.getLogger("alembic.runtime.migration")

LITERAL_PERCENT = {"circle_migrate_literal_percent": True}
"""The execution option of driver SQL whose %% stays as it is."""


async def _assume_deferrable() -> bool:
    return True


class Runner:
    """The steps of one database, run by Alembic.

    `statement_timeout` limits each statement of a revision, in seconds, 0 for no limit; a revision may set
    another limit. `begin_sql` sets the configured search_path, `name_sql` the name of the session,
    `reset_sql` ends the settings of a step; `after_step_sql` follows, unless constraints have to be checked
    before the COMMIT. `lock_answer` is the answer to `CHECK_HELD`, empty for a stamp. `has_deferrable` says
    whether the database may have deferrable constraints. `transcript` is that of the step that runs or has
    failed. The constructor loads the files of all steps under `proxies_lock`. It raises `TreeError` for a
    broken file, `SettingsError` for alembic.ini or a module of `imports`.
    """

    def __init__(
        self,
        graph: Graph,
        table: VersionTable,
        steps: Collection[Step],
        settings: DatabaseSettings | None = None,
        statement_timeout: float = 0.0,
    ) -> None:
        self.graph = graph
        self._limit = (
            f";SET statement_timeout = {milliseconds(statement_timeout)}" if statement_timeout else ""
        )
        self.table = replace(table, id_length=max(table.id_length, len(graph.longest_id)))
        self.begin_sql, self.name_sql, self.reset_sql, self.after_step_sql = CONFIGURED, "", PINNED, ""
        self.lock_answer, self.has_deferrable = "", True
        self._shared_context: Context | None = None
        self._offline_context: Context | None = None
        self._step_end = StepEnd()
        self.transcript: Transcript | None = None
        if settings is not None:
            import_modules(settings)
        self._environment = environment_of(graph, steps, settings)
        self._naming = naming_options(settings)
        with self._environment:
            modules = {step.revision.id: module_with(step) for step in steps}
        self._map = RevisionMap(lambda: _as_alembic(graph, modules))

    def run(
        self,
        connection: Connection,
        action: Action,
        current: tuple[str, ...],
        record: Callable[[Constant], str] = lambda _constant: "",
        check: Callable[[], Awaitable[bool]] = _assume_deferrable,
        note: Callable[[], None] = lambda: None,
        end: Callable[[Coroutine[Any, Any, None]], None] = await_only,
    ) -> None:
        """Run one action and write the version table.

        `current` saves Alembic a query before every step. The transaction that writes the version table
        runs the INSERT that `record` returns, if any. `check` is called where the constraints of a step in
        a transaction may be deferred, before its settings end; it returns `has_deferrable`. `note` is called
        before such a step gets the driver's connection, on which it can commit. `end` awaits, perhaps later,
        what ends such a step on the server. The caller begins and commits
        the transaction; only a step that cannot run in a transaction begins and ends its own. Raises
        `RowsChangedError`.
        """
        self.lock_answer = ""
        adapter = cast("Adapter", connection.connection.dbapi_connection)
        if isinstance(action, Stamp):
            write_stamp(connection, action, self.table)
            insert_row(adapter.driver, record(literal))
            return
        recording = {"on_version_apply": (lambda **_: insert_row(adapter.driver, record(literal)),)}
        context = self._shared_context
        if not connection.in_transaction():
            self._step_end.forget_prepared()  # it may have sent DISCARD ALL
            context = Context(connection.dialect, connection, self._options(action) | recording)
        elif context is None or context.connection is not connection:
            context = Context(connection.dialect, connection, self._options(action))
            context.owned_by_us, self._shared_context = True, context
        context.known_heads = current
        context.revision = action.revision
        refusal = partial(context.refusal, "ends its transaction") if context.owned_by_us else None
        context.transcript = self.transcript = Transcript(adapter, refusal, note)
        with bind_revision(context, action.revision, self._environment):
            try:
                if context.owned_by_us:
                    self._run_in_transaction(context, adapter, action, record, check, end)
                else:
                    context.run_migrations()
            except Exception:
                if (refused := context.transcript.refused) is None:
                    raise
                refused.location = failing_line(action.revision, refused)
                raise refused from None
            finally:
                adapter.watch = None
        self.transcript = None
        end_if_signalled()

    def _run_in_transaction(
        self,
        context: Context,
        adapter: Adapter,
        step: Step,
        record: Callable[[Constant], str],
        check: Callable[[], Awaitable[bool]],
        end: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """Run a step as Alembic does, but write our rows in the message that ends its settings."""
        if not context.known_heads:
            context._ensure_version_table()
        alembic_step = self._alembic_step(step, context)
        _ALEMBIC_LOG.info("Running %s", alembic_step)
        alembic_step.migration_fn()
        # Deferred triggers belong to the step, and would fire at a COMMIT under our own path and settings.
        if self.has_deferrable or (context.transcript and context.transcript.may_defer):
            adapter.send_beginning()
            self.has_deferrable = await_only(check())
        heads = step.heads_after(self.graph, context.known_heads)
        changes = partial(version_changes, self.table.sql_name, context.known_heads, heads)
        if context.transcript is None or context.transcript.may_deallocate:
            self._step_end.forget_prepared()
        end(self._end_step(adapter.driver, adapter.take_beginning(), changes, record, check))

    async def _end_step(
        self,
        driver: asyncpg.Connection,
        unsent: str,
        changes: Callable[[Constant], list[tuple[str, int]]],
        record: Callable[[Constant], str],
        check: Callable[[], Awaitable[bool]],
    ) -> None:
        asks = not self.has_deferrable
        reset = f"{unsent}{self.reset_sql}{self.name_sql};{self.after_step_sql if asks else ''}"
        unexpected = await self._step_end.run(driver, reset, changes, record, asks_deferrable=asks)
        self.lock_answer = RELEASED if Unexpected.LOCK_LOST in unexpected else HELD
        if Unexpected.DEFERRABLE in unexpected:  # a function has created them
            await driver.execute(self.begin_sql)
            self.has_deferrable = await check()
            await driver.execute(PINNED)

    def _run_function(self, context: Context, function: Callable[[], None]) -> None:
        """Let the revision's own statements, and no others, see the configured search_path and its settings.

        Listeners on statements of revisions do not receive the settings. An error leaves the path as it is:
        the caller sets it after the rollback.
        """
        connection = context.connection
        if context.as_sql or connection is None:
            function()
            return
        adapter = cast("Adapter", connection.connection.dbapi_connection)
        begin = self.begin_sql + self._limit + self.name_sql
        if context.owned_by_us and context.revision is not None:
            adapter.begin_step(f"{begin};SET {STEP_SETTING} = {literal(context.revision.id)}")
        else:
            await_only(adapter.driver.execute(begin))
        adapter.watch = context.transcript
        adapter.driver.add_log_listener(self._log_notice)
        if not event.contains(connection, "before_cursor_execute", _unescape_percents):
            event.listen(connection, "before_cursor_execute", _unescape_percents, retval=True)
        adapter.runs_step = True
        try:
            function()
            adapter.settle()
            if not (context.owned_by_us and adapter.is_in_transaction):
                adapter.send_beginning()  # the step has sent nothing
        finally:
            adapter.runs_step = False
            has_ended = context.transcript is not None and context.transcript.has_ended()
            adapter.driver.remove_log_listener(self._log_notice)
        if has_ended:
            raise RuntimeError(Transcript.ENDED)
        if adapter.has_lost_transaction and not adapter.is_in_transaction:
            connection.rollback()  # SQLAlchemy's transaction object; the server has no transaction
        if context.owned_by_us:
            return
        # As in `_run_in_transaction`.
        check = (
            "SET statement_timeout = 0;SET CONSTRAINTS ALL IMMEDIATE;" if adapter.is_in_transaction else ""
        )
        reset = f"{check}{self.reset_sql}{self.name_sql};{CHECK_HELD}"
        self.lock_answer = await_only(adapter.driver.execute(reset))

    def _log_notice(self, _connection: object, message: Any) -> None:
        if not message.severity_en.startswith("DEBUG"):
            _LOG.info("%s  %s: %s", self.graph.database, message.severity_en, message.message)

    def render(
        self, segment: Segment, start: tuple[str, ...], output: StringIO, *, owned: bool = False
    ) -> tuple[str, ...]:
        """Write the steps as SQL and return the current revisions after them; `owned` as in a run."""
        for step in segment.actions:
            if isinstance(step, Stamp):
                output.write(stamp_sql(step, start, self.table))
                start = step.heads
                continue
            context = self._offline(step, output, transaction_per_migration=not segment.transactional)
            context.owned_by_us, context.known_heads = owned, start  # Alembic would load all files for these
            with self._rendering(context, step):
                context.run_migrations()
            start = step.heads_after(self.graph, start)
        return start

    def render_function(self, step: Step, start: tuple[str, ...], output: StringIO) -> None:
        """Write what the function of the step renders; the steps share a context."""
        context = self._offline_context or self._offline(step, output, transaction_per_migration=False)
        self._offline_context, context.known_heads = context, start
        context.output_buffer = context.impl.output_buffer = cast("Any", output)
        with self._rendering(context, step):
            self._alembic_step(step, context).migration_fn()

    def _offline(self, step: Step, output: StringIO, **options: bool) -> Context:
        rendering = {"as_sql": True, "literal_binds": True, "output_buffer": output}
        return Context.offline({**self._options(step), **rendering, **options})

    @contextmanager
    def _rendering(self, context: Context, step: Step) -> Iterator[None]:
        try:
            with bind_revision(context, step.revision, self._environment):
                yield
        except MigrateError:
            raise
        except Exception as error:
            raise _not_renderable_error(step, error) from error

    def _options(self, step: Step) -> dict[str, Any]:
        def one_step(_heads: object, context: Context) -> list[RevisionStep]:
            return [self._alembic_step(step, context)]

        return {"fn": one_step, "transaction_per_migration": True, **self.table.options, **self._naming}

    def _alembic_step(self, step: Step, context: Context) -> RevisionStep:
        script = cast("Script", self._map._revision_map[step.revision.id])
        script.module = cast("ModuleType", context.module)  # a module of its own for each run
        alembic_step = RevisionStep(self._map, script, step.direction is Direction.UP)
        function = alembic_step.migration_fn
        declared = getattr(script.module, "transactional", True) is False
        mode = context.autocommit_block() if declared and not context.owned_by_us else nullcontext()

        @wraps(function)
        def call(**arguments: Any) -> None:
            if "engine_name" in signature(function).parameters:
                arguments["engine_name"] = step.database
            with mode:
                self._run_function(context, partial(_run_whole, function, **arguments))
            if context.connection is not None and not context.as_sql and not context.owned_by_us:
                # Alembic commits it after the version row; the step may have ended the first transaction.
                context._transaction = context.connection.get_transaction() or context.connection.begin()

        alembic_step.migration_fn = call
        return alembic_step


def _run_whole(function: Callable[..., Any], **arguments: Any) -> None:
    returned = function(**arguments)
    if isinstance(returned, Coroutine | Generator):
        returned.close()
        raise TypeError(f"{function.__name__}() is async or has yield, so that a call runs nothing of it")


def _unescape_percents(
    connection: Connection, _cursor: object, statement: str, parameters: Any, context: Any, _many: object
) -> tuple[str, Any]:
    """Replace %% in driver SQL of steps without parameters by %, as psycopg does; it refuses a single %."""
    keeps = context.compiled is not None or LITERAL_PERCENT.items() <= context.execution_options.items()
    adapter = cast("Adapter", connection.connection.dbapi_connection)
    keeps = keeps or connection.dialect.driver == "psycopg" or not adapter.runs_step
    if not keeps and not parameters and "%" not in statement.replace("%%", ""):
        statement = statement.replace("%%", "%")
    return statement, parameters


def _as_alembic(graph: Graph, modules: Mapping[str, ModuleType]) -> Iterator[AlembicRevision]:
    """Yield Alembic's objects for all revisions, with modules for those that run."""
    for revision in graph.revisions.values():
        if revision.id in modules:
            # A squashed revision may be its parent instead of the replaced one in its file.
            declared = SimpleNamespace(**vars(modules[revision.id]))
            declared.down_revision = revision.down_revisions or None
            script = Script(cast("ModuleType", declared), revision.id, revision.path)
            script.module = modules[revision.id]
            yield script
        else:
            yield AlembicRevision(
                revision.id,
                revision.down_revisions or None,
                dependencies=revision.depends_on or None,
                branch_labels=revision.labels or None,
            )


def _not_renderable_error(step: Step, error: Exception) -> Refused:
    reason = "exits" if isinstance(error, ExitCalled) else "fails or reads the database"
    return Refused(
        f"revision {step.revision.id} {reason} while it runs, so it cannot be written as SQL",
        database=step.database,
        location=failing_line(step.revision, error),
        detail=f"{type(error).__name__}: {text_of(error)}",
        hint="run it with `circle-migrate upgrade`, or read only where op.get_context().as_sql is false",
    )
