"""Connections of psycopg for the steps of databases with `driver = "psycopg"`.

Our own statements use the few methods of asyncpg that `Driver` offers. It sends them without
psycopg's implicit BEGIN, with parameters without types, which the server resolves as those of asyncpg.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from psycopg import AsyncConnection, AsyncRawCursor, errors, generators, sql
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.errors import Diagnostic
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.types.string import TextLoader
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.psycopg import AsyncAdapt_psycopg_connection, AsyncAdapt_psycopg_cursor
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.util import await_only

from circle_migrate.config.url.address import Address
from circle_migrate.postgres.simple_protocol import Watched

LogListener = Callable[[Any, Any], None]


async def connect(address: Address, application_name: str) -> "Driver":
    """Connect. Raises psycopg's errors."""
    parameters = {**address.parameters, "application_name": application_name}
    timeout = address.connect_timeout
    connection = await AsyncConnection.connect(
        **parameters,  # type: ignore[arg-type]
        host=",".join(endpoint.host for endpoint in address.endpoints),
        port=",".join(str(endpoint.port) for endpoint in address.endpoints),
        user=address.user,
        password=address.password or "",
        dbname=address.database,
        connect_timeout=0 if timeout is None else max(2, round(timeout)),
        client_encoding="UTF8",
        gssencmode="disable",
        # The address has what these files and variables say; libpq is silent about a file that is missing.
        passfile=f"{os.devnull}/none",
        options="",
        prepare_threshold=None,
    )
    return Driver(connection)


class Record:
    """A row by numbers and names, which iterates over its values."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Sequence[str], values: Sequence[Any]) -> None:
        self._names, self._values = names, values

    def __getitem__(self, key: int | str) -> Any:
        return self._values[self._names.index(key) if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def keys(self) -> Sequence[str]:
        """Return the names."""
        return self._names

    def values(self) -> Sequence[Any]:
        """Return the values."""
        return self._values


class DriverTransaction:
    """A transaction, or a savepoint where one is open."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        self._is_nested = False

    async def start(self) -> None:
        """Begin."""
        self._is_nested = self._driver.is_in_transaction()
        await self._driver.execute("SAVEPOINT circle_migrate" if self._is_nested else "BEGIN")

    async def commit(self) -> None:
        """Commit, or release the savepoint."""
        await self._driver.execute("RELEASE circle_migrate" if self._is_nested else "COMMIT")

    async def rollback(self) -> None:
        """Roll back."""
        undo = "ROLLBACK TO circle_migrate; RELEASE circle_migrate"
        await self._driver.execute(undo if self._is_nested else "ROLLBACK")

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        await (self.commit() if error is None else self.rollback())


class Driver:
    """The methods of asyncpg's connection that our own statements use."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection
        self.adapters = AdaptersMap(connection.adapters)
        for name in ("json", "jsonb"):  # asyncpg returns their text
            self.adapters.register_loader(name, TextLoader)
        self._is_terminated = False
        self._listeners: dict[LogListener, Callable[[Diagnostic], None]] = {}

    async def execute(self, text: str, *values: object) -> str:
        """Run the statements, several only without values, and return the tag of the last."""
        result = await self._send(text, values)
        return (result.command_status or b"").decode()

    async def fetch(self, text: str, *values: object) -> list[Record]:
        """Return the rows of a statement."""
        result = await self._send(text, values)
        transformer = Transformer(self)
        transformer.set_pgresult(result)
        names = [(result.fname(index) or b"").decode() for index in range(result.nfields)]
        rows = transformer.load_rows(0, result.ntuples, tuple)
        return [Record(names, row) for row in rows]

    async def fetchrow(self, text: str, *values: object) -> Record | None:
        """Return the first row."""
        return next(iter(await self.fetch(text, *values)), None)

    async def fetchval(self, text: str, *values: object) -> Any:
        """Return the first value of the first row."""
        row = await self.fetchrow(text, *values)
        return None if row is None else row[0]

    async def _send(self, text: str, values: Sequence[object]) -> PGresult:
        async with self.connection.lock:
            results = await self.connection.wait(self._exchange(text, values))
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result, encoding="utf-8")
        return results[-1]

    def _exchange(self, text: str, values: Sequence[object]) -> PQGen[list[PGresult]]:
        pgconn = self.connection.pgconn
        if values:
            transformer = Transformer(self)
            # A tuple would be a row.
            arrays = [list(value) if isinstance(value, tuple) else value for value in values]
            texts = transformer.dump_sequence(arrays, [PyFormat.TEXT] * len(values))
            pgconn.send_query_params(text.encode(), texts)
        else:
            pgconn.send_query(text.encode())
        results: list[PGresult] = yield from generators.execute(pgconn)
        return results

    def transaction(self) -> DriverTransaction:
        """Return a transaction that has not begun."""
        return DriverTransaction(self)

    def is_in_transaction(self) -> bool:
        """Return whether the server has a transaction."""
        status = self.connection.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def is_closed(self) -> bool:
        """Return whether the connection was closed or lost."""
        return self._is_terminated or self.connection.closed

    def terminate(self) -> None:
        """Disconnect without waiting for the server; who waits for its answer gets an error."""
        if self.is_closed():
            return
        if self.connection.lock.locked():
            with socket.socket(fileno=os.dup(self.connection.pgconn.socket)) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
        else:
            self.connection.pgconn.finish()
        self._is_terminated = True

    def get_server_pid(self) -> int:
        """Return the process id of the backend."""
        return self.connection.info.backend_pid

    def get_server_version(self) -> SimpleNamespace:
        """Return the server's version."""
        return SimpleNamespace(major=self.connection.info.server_version // 10000)

    def get_settings(self) -> SimpleNamespace:
        """Return what the server reports of itself."""
        return SimpleNamespace(server_encoding=self.connection.info.parameter_status("server_encoding"))

    def add_log_listener(self, listener: LogListener) -> None:
        """Call the listener for each notice of the server."""

        def handle(notice: Diagnostic) -> None:
            severity, message = notice.severity_nonlocalized or "", notice.message_primary
            listener(self, SimpleNamespace(severity_en=severity, message=message))

        self._listeners[listener] = handle
        self.connection.add_notice_handler(handle)

    def remove_log_listener(self, listener: LogListener) -> None:
        """Remove a listener."""
        self.connection.remove_notice_handler(self._listeners.pop(listener))


class _Cursor(AsyncAdapt_psycopg_cursor):
    __slots__ = ()

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        if isinstance(self._cursor, AsyncRawCursor):
            parameters = parameters or None  # it takes no empty dict
        with self._watched(operation, parameters):
            return await super()._execute_async(operation, parameters)  # type: ignore[no-untyped-call]

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        with self._watched(operation, seq_of_parameters):
            return await super()._executemany_async(operation, seq_of_parameters)  # type: ignore[no-untyped-call]

    @contextmanager
    def _watched(self, operation: Any, parameters: Any) -> Iterator[None]:
        text = operation.decode() if isinstance(operation, bytes) else operation
        text = text.as_string(self._adapter.driver) if isinstance(text, sql.Composable) else text
        if parameters is not None:
            text = text.replace("%%", "%")
        with self._adapter.watched(text):
            self._adapter.note_begin()
            yield

    @property
    def _adapter(self) -> "PsycopgAdapter":
        return cast("PsycopgAdapter", self._adapt_connection)


class PsycopgAdapter(Watched, AsyncAdapt_psycopg_connection):
    """SQLAlchemy's adapter of psycopg, which reports each statement to a `Watch`."""

    __slots__ = ("_has_begun", "_has_lost", "before_sending", "driver", "is_reached", "runs_step", "watch")

    def __init__(self, dbapi: Any, driver: "Driver") -> None:
        super().__init__(dbapi, cast("Any", driver.connection))
        self.driver: Any = driver
        self.before_sending = self.watch = None
        self.runs_step = self.is_reached = self._has_begun = self._has_lost = False

    @property
    def has_lost_transaction(self) -> bool:
        """Whether a transaction that psycopg has begun was ended past this adapter."""
        return self._has_lost or (self._has_begun and not self.is_in_transaction)

    def note_begin(self) -> None:
        """Note, before a statement, that psycopg begins a transaction for it, and how the last one ended."""
        self._has_lost = self.has_lost_transaction
        self._has_begun = not self.autocommit

    def cursor(self, name: str | None = None, /) -> Any:  # type: ignore[override]
        """Return a cursor; one with a name is a cursor of the server."""
        self.settle()
        if not name:
            return _Cursor(self)
        self.note_begin()
        return super().cursor(name)  # type: ignore[no-untyped-call]

    def commit(self) -> None:
        """Commit."""
        super().commit()
        self._has_begun = self._has_lost = False

    def rollback(self) -> None:
        """Roll back."""
        super().rollback()
        self._has_begun = self._has_lost = False


def adapt(dbapi: Any, connection: Awaitable[Driver]) -> PsycopgAdapter:
    """Await the connection and return SQLAlchemy's adapter of it."""
    return await_only(PsycopgAdapter.create(dbapi, cast("Any", connection)))


def number_own_parameters(engine: Engine) -> None:
    """Let driver SQL of ours have $1 for parameters, % as it is; leave that of revisions to psycopg."""

    @event.listens_for(engine, "before_cursor_execute")
    def take_numbered(
        connection: Connection, cursor: _Cursor, _sql: str, _values: object, context: Any, _many: object
    ) -> None:
        adapter = cast("PsycopgAdapter", connection.connection.dbapi_connection)
        if context.compiled is None and not adapter.runs_step:
            cursor._cursor = cast("Any", AsyncRawCursor(cast("Any", cursor._connection)))
