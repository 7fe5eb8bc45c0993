"""Record the statements of a run with the lines of the revision files that send them."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import CompileError, IdentifierError
from sqlalchemy.util import await_only

import circle_migrate
from circle_migrate.core.errors import MigrateError, text_of
from circle_migrate.core.redaction import redact, redact_quotation
from circle_migrate.migrate.alembic_adapter.runner import LITERAL_PERCENT, Runner
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.search_path import CONFIGURED, PINNED
from circle_migrate.postgres.server_errors import driver_message, server_error
from circle_migrate.postgres.simple_protocol import Adapter
from circle_migrate.postgres.sql_text import compile_pattern, split_statements
from circle_migrate.revision_graph.modules import module_of, source_of
from circle_migrate.revision_graph.plan import Action, Direction, Plan, Segment, Step
from circle_migrate.safety.trace.record import ServerError, TracedRelation, TracedStatement
from circle_migrate.safety.trace.traced_connection import PendingStatement, TracedConnection

if TYPE_CHECKING:
    from circle_migrate.postgres.simple_protocol import Adapter

_ROOT = Path(circle_migrate.__file__).parent
_PACKAGE = f"{_ROOT}{os.sep}"
_REVISIONS = f"{_ROOT / 'revisions'}{os.sep}"
_HELPERS = str(_ROOT / "indexes.py")
_OPERATIONS = f"{os.sep}alembic{os.sep}operations{os.sep}"
_SKIPPED = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parent, Path(sqlalchemy.__file__).parent))


_READS_ROWS = compile_pattern(r"\s*(?:SELECT|WITH|TABLE)\b(?!.*\bsetval\b)")
_WRITES_ROWS = compile_pattern(r"\s*(?:INSERT|UPDATE|DELETE)\b")
_DELETES = compile_pattern(r"\b(?:DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?)\s+(?:ONLY\s+)?[\w.\"]+|\.delete\(")


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A line of a revision file; `is_guarded` if it calls our helpers, `gets_rows` unless Alembic's `op`."""

    file: str
    line: int
    is_guarded: bool = False
    gets_rows: bool = True


def no_origin() -> SourceLocation | None:
    """Return the origin of statements sent while no step runs."""
    return None


def origin(step: Step) -> SourceLocation | None:
    """Return the line of the step's file that sends the statement or calls the helper that does, or None."""
    path = step.revision.path
    name = "upgrade" if step.direction is Direction.UP else "downgrade"
    function = getattr(getattr(module_of(step.revision), name), "__code__", None)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
    sender = frame.f_code.co_filename if frame is not None else path
    if sender != path and sender.startswith(_PACKAGE) and not sender.startswith(_REVISIONS):
        return None
    is_guarded, gets_rows = False, True
    while frame is not None:
        if frame.f_code.co_filename == path:
            return SourceLocation(path, frame.f_lineno, is_guarded, gets_rows)
        if frame.f_code is function:
            return SourceLocation(path, step.revision.line, is_guarded)
        is_guarded = is_guarded or frame.f_code.co_filename == _HELPERS
        gets_rows = gets_rows and _OPERATIONS not in frame.f_code.co_filename
        frame = frame.f_back
    return None


@dataclass(slots=True)
class Recorder:
    """Records the statements that revisions send; `segment` and `revision` are those of the current step.

    `first` is the index of its first statement.
    """

    origin: Callable[[], SourceLocation | None] = no_origin
    segment: int = 1
    revision: str = ""
    first: int = 0
    statements: list[TracedStatement] = field(default_factory=list)
    # Of the statement that is being sent, and of those that listeners send before it, which are ours.
    _pending: list[PendingStatement | None] = field(default_factory=list)

    def start_step(self, step: Step) -> None:
        """Record the statements of a step from here on."""
        self.revision, self.origin = step.revision.id, partial(origin, step)
        self.first = len(self.statements)
        self._pending.clear()

    def listen(self, connection: Connection, traced: TracedConnection) -> None:
        """Record the statements that are sent over a connection."""

        def before(
            _: object, _cursor: object, statement: str, parameters: Any, context: Any, __: object
        ) -> tuple[str, Any]:
            if not parameters and self.origin() is not None and (earlier := split_statements(statement)[:-1]):
                options = {} if context.compiled is None else LITERAL_PERCENT
                for text in earlier:
                    connection.exec_driver_sql(text, execution_options=options)  # calls this listener
                statement = split_statements(statement)[-1]
            text = statement.replace("%%", "%") if connection.dialect.driver == "psycopg" else statement
            sent = None if self._pending else self._statement(traced, text)
            if sent is None:
                traced.is_current = traced.is_current and _WRITES_ROWS.match(text) is not None
                traced.state = None
                self._pending.append(None)
                return statement, parameters
            adapter = cast("Adapter", connection.connection.dbapi_connection)
            if adapter.is_reached:  # and what was sent is not known
                traced.state = None
            autocommit = bool(getattr(adapter, "autocommit", False))
            if not autocommit and traced.state is None:
                adapter.send_beginning()
                if not traced.driver.is_in_transaction():
                    # The driver begins its transaction, so that its counters start before the statement.
                    cursor = connection.connection.cursor()
                    cursor.execute("SELECT 1")
                    cursor.close()
            self._pending.append(await_only(traced.before_statement(sent, autocommit=autocommit)))
            return statement, parameters

        def after(*_: object) -> None:
            pending = self._pending.pop() if self._pending else None
            if pending is not None:
                self.statements.append(await_only(traced.after_statement(pending)))

        def failed(context: ExceptionContext) -> None:
            pending = self._pending.pop() if self._pending else None
            error = context.original_exception
            if not isinstance(error, Exception):
                return
            if pending is None and context.statement:  # SQLAlchemy failed before it sent the statement
                sent = self._statement(traced, context.statement)
                if sent is not None:
                    pending = await_only(traced.before_statement(sent, autocommit=False))
            if pending is not None:
                summary = error_summary(error, context.statement)
                self.statements.append(await_only(traced.statement_failed(pending, summary)))

        def ended(_: object) -> None:
            traced.state = None

        event.listen(connection, "commit", ended)
        event.listen(connection, "rollback", ended)
        event.listen(connection, "before_cursor_execute", before, retval=True)
        event.listen(connection, "after_cursor_execute", after)
        event.listen(connection.engine, "handle_error", failed)

    def _statement(self, traced: TracedConnection, sql: str) -> TracedStatement | None:
        place = self.origin()
        if place is None:
            return None
        step = traced.settings.name, self.segment, self.revision
        read = "" if place.gets_rows and _READS_ROWS.match(sql) else None
        traced_at = place.file, place.line
        return TracedStatement(*step, redact(sql), *traced_at, repeatable=place.is_guarded, read_by_code=read)


def _deletions_not_sent(step: Step, statements: Sequence[TracedStatement]) -> str:
    """Return the deletions in the code of a step that it did not run, as the tables are empty."""
    function, source = getattr(module_of(step.revision), step.function), ""
    code = getattr(inspect.unwrap(function), "__code__", None)
    is_own = code is not None and code.co_filename == step.revision.path
    if is_own and not _DELETES.search(source_of(step.revision)):  # which takes a tenth of the time
        return ""
    with suppress(OSError, TypeError):  # no function with a source
        source = inspect.getsource(function)
    sent = "\n".join(item.sql for item in statements)
    found = (match[0] for match in _DELETES.finditer(source))
    return ", ".join(text for text in found if (text if text[0] != "." else "DELETE") not in sent)


def error_summary(error: BaseException, sql: str | None) -> ServerError:
    """Return the error of a statement; no SQLSTATE if the server did not raise it."""
    cause, sql = server_error(error), sql or ""
    if cause is None:
        text = error.args[0] if error.args and isinstance(error.args[0], str) else text_of(error)
        message = driver_message(error) or text or type(error).__name__
        return ServerError("", " ".join(redact_quotation(message, sql).split()))
    message = getattr(cause, "message", None) or str(cause).partition("\n")[0]
    return ServerError(str(getattr(cause, "sqlstate", "")), redact_quotation(message, sql))


@dataclass(slots=True)
class TraceHooks(Hooks):
    """Records the statements of a plan, in one or more runs, each after the committed segments.

    `running` is the current or failed action. `catalogs` are from before each revision.
    """

    committed_segments: int = 0
    completed: list[Action] = field(default_factory=list)
    catalogs: dict[str, Snapshot] = field(default_factory=dict)
    running: Action | None = None
    _recorder: Recorder = field(default_factory=Recorder)
    _connections: dict[str, TracedConnection] = field(default_factory=dict)
    _runners: Mapping[str, Runner] = field(default_factory=dict)
    _known: dict[str, dict[int, TracedRelation]] = field(default_factory=dict)
    _listening: set[str] = field(default_factory=set)
    _rolled_back: set[str] = field(default_factory=set)
    _offset: int = 0
    _marks: tuple[int, int] = (0, 0)

    @property
    def statements(self) -> tuple[TracedStatement, ...]:
        """The statements recorded so far."""
        return tuple(self._recorder.statements)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Read every database before the plan runs."""
        self._offset, self._runners = self.committed_segments, run.runners
        self._listening.clear()
        for name in plan.databases:
            session, settings = run.sessions[name], run.deployment.databases[name].settings
            traced = TracedConnection(session.driver, settings, session.adapter.send_later)
            await traced.driver.execute(CONFIGURED)  # which relations are visible
            await traced.begin(self._known.get(name))
            await traced.driver.execute(PINNED)
            self._known[name] = traced.known
            self._connections[name] = traced

    def before_segment(self, number: int, segment: Segment) -> None:
        """Discard what a previous attempt recorded, because it was rolled back."""
        finished = self._offset + number - 1
        if finished == self.committed_segments and self._recorder.segment == finished + 1:
            statements, actions = self._marks
            del self._recorder.statements[statements:]
            del self.completed[actions:]
            self._rolled_back.update(segment.databases)
        for traced in self._connections.values():  # what the last step left open was rolled back
            traced.is_current, traced.state = False, None
        self.committed_segments = finished
        self.running = None
        self._recorder.origin = no_origin
        self._recorder.segment = finished + 1
        self._marks = (len(self._recorder.statements), len(self.completed))

    def before_step(self, connection: Connection, action: Action) -> None:
        """Record the statements of the step from here on."""
        self.running = action
        if not isinstance(action, Step):
            return
        traced = self._connections[action.database]
        cast("Adapter", connection.connection.dbapi_connection).is_reached = False
        if self._runners[action.database].has_deferrable:  # whose check scanned tables after the last step
            traced.state = None
        if action.database not in self._listening:
            self._recorder.listen(connection, traced)
            self._listening.add(action.database)
        if action.database in self._rolled_back:
            await_only(traced.driver.execute(CONFIGURED))
            await_only(traced.refresh())
            await_only(traced.driver.execute(PINNED))
            self._rolled_back.remove(action.database)
        if traced.catalog is not None:
            self.catalogs[action.revision.qualified] = traced.catalog
        self._recorder.start_step(action)

    def after_step(self, connection: Connection, action: Action) -> None:
        """Mark the step as done; it has caught the errors of its statements."""
        if isinstance(action, Step) and cast("Adapter", connection.connection.dbapi_connection).is_reached:
            self._connections[action.database].is_current = False
        if isinstance(action, Step):
            recorded, first = self._recorder.statements, self._recorder.first
            deletions = _deletions_not_sent(action, recorded[first:])
            recorded[first:] = [
                replace(statement, read_by_code=deletions)
                if statement.read_by_code is not None
                else statement
                for statement in recorded[first:]
                if not statement.error or statement.error.lacked
            ]
        self._recorder.origin = no_origin
        self.completed.append(action)
        self.running = None

    def failure(self, error: MigrateError) -> tuple[TracedStatement, ...] | None:
        """Return statements to add if a failing statement ended the run; None if something else did."""
        cause = error.__cause__  # SQLAlchemy does not report a statement that it cannot compile
        if isinstance(cause, CompileError | IdentifierError) and isinstance(self.running, Step):
            revision = self.running.revision
            file, _, line = (error.location or revision.location).rpartition(":")
            segment, summary = self._recorder.segment, error_summary(cause, None)
            place = revision.database, segment, revision.id
            return (TracedStatement(*place, "", file, int(line), error=summary),)
        if cause is None or not self._recorder.statements:
            return None
        failed = self._recorder.statements[-1].error
        orig, sql = getattr(cause, "orig", None) or cause, getattr(cause, "statement", None)
        return () if failed == error_summary(orig, sql) else None
