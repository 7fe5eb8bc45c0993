"""Record the statements of a run as SQLAlchemy sends them, each with its line in a revision file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import CompileError, IdentifierError
from sqlalchemy.util import await_only

import circle_migrate
from circle_migrate.core.redaction import redact
from circle_migrate.migrate.run import Hooks, MigrationRun
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.server_errors import server_error
from circle_migrate.revision_graph.modules import module_of
from circle_migrate.revision_graph.plan import Action, Direction, Plan, Segment, Step
from circle_migrate.safety.trace.backend import PendingStatement, TracedConnection
from circle_migrate.safety.trace.record import ServerError, TracedStatement
from circle_migrate.safety.trace.work import Relation

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, ExceptionContext

    from circle_migrate.core.errors import MigrateError

T = TypeVar("T")

_QUOTES_ROWS = ("22", "23")
"""Classes of SQLSTATE, data exceptions and violated constraints, whose DETAIL quotes rows."""

_HERE, _ROOT = Path(__file__).parent, Path(circle_migrate.__file__).parent
_PACKAGE = f"{_ROOT}{os.sep}"
_REVISIONS = f"{_ROOT / 'revisions'}{os.sep}"
_HELPERS = str(_ROOT / "indexes.py")
_PASSED_OVER = tuple(f"{folder}{os.sep}" for folder in (_HERE, Path(sqlalchemy.__file__).parent))


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of a revision file; `looks_first` where it calls our helpers, which do nothing twice."""

    file: str
    line: int
    is_guarded: bool = False


def no_origin() -> Origin | None:
    """The origin of whatever is sent while no step runs."""
    return None


def origin(step: Step) -> Origin | None:
    """The line of the step's file that leads to the statement being sent; None where it is not the step's.

    Through helpers it is the line that calls them. Not the step's are statements of Alembic's version table,
    which nothing in the revision calls, and those our own code sends beside it.
    """
    path = step.revision.path
    name = "upgrade" if step.direction is Direction.UP else "downgrade"
    function = getattr(getattr(module_of(step.revision), name), "__code__", None)
    frame = _sender(sys._getframe(1))
    if frame is not None and _is_ours(frame.f_code, path):
        return None
    looks_first = False
    while frame is not None:
        if frame.f_code.co_filename == path:
            return Origin(path, frame.f_lineno, looks_first)
        if frame.f_code is function:
            return Origin(path, step.revision.line, looks_first)
        looks_first = looks_first or frame.f_code.co_filename == _HELPERS
        frame = frame.f_back
    return None


def _sender(frame: FrameType | None) -> FrameType | None:
    """The frame that called SQLAlchemy."""
    while frame is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame = frame.f_back
    return frame


def _is_ours(code: CodeType, path: str) -> bool:
    file = code.co_filename
    return file != path and file.startswith(_PACKAGE) and not file.startswith(_REVISIONS)


@dataclass(slots=True)
class Recorder:
    """Records what is sent while `origin` says that it comes from a revision.

    `segment` and `revision` are those of the step that is running.
    """

    origin: Callable[[], Origin | None] = no_origin
    segment: int = 1
    revision: str = ""
    statements: list[TracedStatement] = field(default_factory=list)
    _begun: PendingStatement | None = None

    def listen(self, connection: Connection, backend: TracedConnection) -> None:
        """Record what is sent over a connection from now on."""

        def before(_: object, _cursor: object, statement: str, *__: object) -> None:
            traced = self._traced(backend, statement)
            self._begun = None
            if traced is None:
                return
            autocommit = _commits_by_itself(connection)
            if not autocommit and not backend.driver.is_in_transaction():
                _have_transaction(connection)
            self._begun = _wait(backend.before(traced, autocommit=autocommit))

        def after(*_: object) -> None:
            begun, self._begun = self._begun, None
            if begun is not None:
                self.statements.append(_wait(backend.after(begun)))

        def failed(context: ExceptionContext) -> None:
            begun, self._begun = self._begun, None
            error = context.original_exception
            if not isinstance(error, Exception):
                return
            if begun is None and context.statement:  # SQLAlchemy could not even send it
                traced = self._traced(backend, context.statement)
                begun = _wait(backend.before(traced, autocommit=False)) if traced is not None else None
            if begun is not None:
                self.statements.append(_wait(backend.failed(begun, error_summary(error))))

        event.listen(connection, "before_cursor_execute", before)
        event.listen(connection, "after_cursor_execute", after)
        event.listen(connection.engine, "handle_error", failed)

    def _traced(self, backend: TracedConnection, statement: str) -> TracedStatement | None:
        place = self.origin()
        if place is None:
            return None
        name = backend.settings.name
        return TracedStatement(
            name,
            self.segment,
            self.revision,
            redact(statement),
            place.file,
            place.line,
            repeatable=place.is_guarded,
        )


def error_summary(error: BaseException) -> ServerError:
    """Why a statement failed, without what may quote rows; an empty SQLSTATE where it was never sent."""
    found = server_error(error)
    if found is None:
        words = str(error.args[0]) if error.args else type(error).__name__
        return ServerError("", redact(" ".join(words.split())))
    state = str(getattr(found, "sqlstate", ""))
    detail = None if state.startswith(_QUOTES_ROWS) else getattr(found, "detail", None)
    words = getattr(found, "message", None) or str(found).partition("\n")[0]
    hint = getattr(found, "hint", None)
    return ServerError(
        state, redact(words), redact(detail) if detail else None, redact(hint) if hint else None
    )


def _commits_by_itself(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _have_transaction(connection: Connection) -> None:
    """The driver begins one with the first statement, and what that does is counted from there on."""
    cursor = connection.connection.cursor()
    cursor.execute("SELECT 1")
    cursor.close()


def _wait(work: Coroutine[Any, Any, T]) -> T:
    return await_only(work)


@dataclass(slots=True)
class TracingHooks(Hooks):
    """Records the statements of a plan, which may take several runs: each one begins where the last failed.

    `finished` segments are committed; `done` are the actions that have run in full, `running` the one that
    has not, or has failed. `catalogues` are from before each revision.
    """

    finished: int = 0
    done: list[Action] = field(default_factory=list)
    catalogues: dict[str, Snapshot] = field(default_factory=dict)
    running: Action | None = None
    _recorder: Recorder = field(default_factory=Recorder)
    _backends: dict[str, TracedConnection] = field(default_factory=dict)
    _known: dict[str, dict[int, Relation]] = field(default_factory=dict)
    _listening: set[str] = field(default_factory=set)
    _rolled_back: set[str] = field(default_factory=set)
    _offset: int = 0
    _marks: tuple[int, int] = (0, 0)

    @property
    def statements(self) -> tuple[TracedStatement, ...]:
        """What was recorded so far."""
        return tuple(self._recorder.statements)

    async def before_run(self, run: MigrationRun, plan: Plan) -> None:
        """Look at every database before anything of the plan has run."""
        self._offset = self.finished
        self._listening.clear()
        for name in plan.databases:
            backend = TracedConnection(run.sessions[name].driver, run.deployment.databases[name].settings)
            await backend.begin(self._known.get(name))
            self._known[name] = backend.known
            self._backends[name] = backend

    def before_segment(self, number: int, segment: Segment) -> None:
        """Forget what an earlier try has recorded: it was rolled back."""
        finished = self._offset + number - 1
        if finished == self.finished and self._recorder.segment == finished + 1:
            statements, actions = self._marks
            del self._recorder.statements[statements:]
            del self.done[actions:]
            self._rolled_back.update(segment.databases)
        self.finished = finished
        self.running = None
        self._recorder.origin = no_origin
        self._recorder.segment = finished + 1
        self._marks = (len(self._recorder.statements), len(self.done))

    def before_step(self, connection: Connection, action: Action) -> None:
        """A step begins."""
        self.running = action
        if not isinstance(action, Step):
            return
        backend = self._backends[action.database]
        if action.database not in self._listening:
            self._recorder.listen(connection, backend)
            self._listening.add(action.database)
        if action.database in self._rolled_back:
            await_only(backend.refresh())
            self._rolled_back.remove(action.database)
        if backend.catalogue is not None:
            self.catalogues[action.revision.qualified] = backend.catalogue
        self._recorder.revision = action.revision.id
        self._recorder.origin = partial(origin, action)

    def after_step(self, connection: Connection, action: Action) -> None:  # noqa: ARG002 - as declared
        """A step has run."""
        self._recorder.origin = no_origin
        self.done.append(action)
        self.running = None

    def failure(self, error: MigrateError) -> tuple[TracedStatement, ...] | None:
        """What to add to the statements where a failing one ended the run; None where it was none.

        A statement that SQLAlchemy could not even compile is none it has told of.
        """
        cause = error.__cause__
        if isinstance(cause, CompileError | IdentifierError) and isinstance(self.running, Step):
            revision = self.running.revision
            file, _, line = (error.location or revision.location).rpartition(":")
            made = TracedStatement(
                revision.database, self._recorder.segment, revision.id, "", file, int(line)
            )
            return (replace(made, error=error_summary(cause)),)
        last = self._recorder.statements[-1] if self._recorder.statements else None
        if (
            last is None
            or cause is None
            or last.error != error_summary(getattr(cause, "orig", None) or cause)
        ):
            return None
        return ()
