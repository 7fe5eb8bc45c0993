"""The statements of steps, recorded as SQLAlchemy sends them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event
from sqlalchemy.util import await_only

from circle_migrate.core.traces import ServerError, Traced
from circle_migrate.faults import server_error
from circle_migrate.redaction import redact
from circle_migrate.tracing.origins import Origin, nowhere

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, ExceptionContext

    from circle_migrate.tracing.backend import Backend, Begun

T = TypeVar("T")

_QUOTES_ROWS = ("22", "23")
"""Classes of SQLSTATE, data exceptions and violated constraints, whose DETAIL quotes rows."""


@dataclass(slots=True)
class Recorder:
    """Records what is sent while `origin` says that it comes from a revision.

    `segment` and `revision` are those of the step that is running.
    """

    origin: Callable[[], Origin | None] = nowhere
    segment: int = 1
    revision: str = ""
    statements: list[Traced] = field(default_factory=list)
    _begun: Begun | None = None

    def listen(self, connection: Connection, backend: Backend) -> None:
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
                self.statements.append(_wait(backend.failed(begun, why(error))))

        event.listen(connection, "before_cursor_execute", before)
        event.listen(connection, "after_cursor_execute", after)
        event.listen(connection.engine, "handle_error", failed)

    def _traced(self, backend: Backend, statement: str) -> Traced | None:
        place = self.origin()
        if place is None:
            return None
        name = backend.settings.name
        return Traced(
            name,
            self.segment,
            self.revision,
            redact(statement),
            place.file,
            place.line,
            repeatable=place.looks_first,
        )


def why(error: BaseException) -> ServerError:
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
