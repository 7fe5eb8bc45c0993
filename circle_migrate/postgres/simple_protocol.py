"""SQLAlchemy's connection on asyncpg, with the simple protocol for statements without parameters.

The simple protocol takes several statements in one text and saves a round trip, but asyncpg discards rows
there. So only text that needs no rows goes through it.
"""

import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import asyncpg
from asyncpg.transaction import TransactionState
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection, AsyncAdapt_asyncpg_cursor
from sqlalchemy.util import await_only

from circle_migrate.postgres.sql_text import split_last_rows, split_statements, without_comments_and_literals

_TAKES_ROWS = re.compile(r"copy\b[^()]*(?:\([^()]*\)\s*)?from\s+stdin\b", re.IGNORECASE)
_NO_ROWS = (
    "the server waits for rows after COPY FROM STDIN, and a statement cannot send any; write INSERT, or "
    "await_only(op.get_bind().connection.driver_connection.copy_to_table(...)), see asyncpg"
)
_ROW_COUNT = re.compile(r"(?:SELECT|UPDATE|DELETE|MERGE|INSERT \d+) (\d+)")


class Watch:
    """Methods called for every text that a connection sends; `commit` and `rollback` of it count as texts."""

    def reached(self) -> None:
        """Act before a revision gets the driver's connection, on which it can send anything."""

    def before(self, sql: str) -> None:
        """Act before the text is sent; an error of this method prevents that."""

    def done(self, sql: str) -> None:
        """Act after the text has run."""

    def failed(self, sql: str, error: BaseException) -> None:
        """Act after the text has failed, or was cancelled."""


class _Cursor(AsyncAdapt_asyncpg_cursor):
    __slots__ = ()

    async def _prepare_and_execute(self, operation: str, parameters: Any) -> None:
        rest = operation
        if not parameters:
            without_rows, rest = split_last_rows(operation)
            if without_rows:
                with self._watched(without_rows):
                    await self._execute_simple(self._adapter.take_beginning(), without_rows)
        if rest or not operation:
            with self._watched(rest):
                await self._begin_step()
                await super()._prepare_and_execute(rest, parameters)  # type: ignore[no-untyped-call]
        if self._connection.get_settings().client_encoding != "UTF8":  # type: ignore[attr-defined]
            # asyncpg sends all text in UTF-8, whatever the step has set.
            await self._connection.execute("SET client_encoding = UTF8")  # type: ignore[attr-defined]

    async def _executemany(self, operation: str, seq_of_parameters: Any) -> Any:
        with self._watched(operation):
            await self._begin_step()
            return await super()._executemany(operation, seq_of_parameters)  # type: ignore[no-untyped-call]

    def _watched(self, sql: str) -> AbstractContextManager[None]:
        texts = split_statements(sql) if "stdin" in sql.lower() else []
        if any(map(_TAKES_ROWS.match, map(without_comments_and_literals, texts))):
            raise RuntimeError(_NO_ROWS)
        return self._adapter.watched(sql)

    @property
    def _adapter(self) -> "Adapter":
        return cast("Adapter", self._adapt_connection)

    def send_beginning(self) -> None:
        """Send the beginning of a step by itself, if it was not sent yet."""
        await_only(self._begin_step())

    async def _begin_step(self) -> None:
        if beginning := self._adapter.take_beginning():
            await self._execute_simple(beginning)

    async def _execute_simple(self, beginning: str, sql: str = "") -> None:
        adapter = self._adapter
        async with adapter._execute_mutex:
            begins = adapter._transaction is None
            if begins and not (beginning and adapter.isolation_level is None):
                await adapter._start_transaction()  # type: ignore[no-untyped-call]
                begins = False
            execute = self._execute_in_new_transaction if begins else adapter.driver.execute
            try:
                status = await execute(beginning + sql)
                # The text may have changed a type that the driver has read; this sends nothing.
                await self._connection.reload_schema_state()
            except Exception as error:  # noqa: BLE001 - it is raised as an error of SQLAlchemy
                self._handle_exception(error)  # type: ignore[no-untyped-call]
        self._rows = deque()
        self._description = None
        count = _ROW_COUNT.match(status or "")
        self._rowcount = int(count[1]) if count else -1

    async def _execute_in_new_transaction(self, sql: str) -> str:
        """Run the text in the message that begins its transaction, for which asyncpg has no public method."""
        adapter, driver = self._adapter, self._adapter.driver
        transaction = driver.transaction()
        try:
            return str(await driver.execute(f"BEGIN;{sql}"))
        except asyncpg.PostgresError:
            if adapter.is_in_transaction or driver.is_closed():
                raise
        finally:
            if adapter.is_in_transaction:
                transaction._state, driver._top_xact = TransactionState.STARTED, transaction
                adapter._transaction = transaction
        # The server has read the whole text before it would run BEGIN, and refuses it again.
        await adapter._start_transaction()  # type: ignore[no-untyped-call]
        return str(await driver.execute(sql))


class Watched:
    """What steps need of any driver's adapter; `runs_step` holds while a revision's function runs.

    `is_reached` holds when a revision has got the driver's connection, on which it can send anything.
    `before_sending` returns what is awaited before the adapter gives anything on which a text can be sent.
    """

    __slots__ = ()
    before_sending: Callable[[], Awaitable[None] | None] | None
    watch: Watch | None
    runs_step: bool
    is_reached: bool
    driver: Any

    def settle(self) -> None:
        """Await what `before_sending` returns."""
        if self.before_sending is not None and (pending := self.before_sending()) is not None:
            await_only(pending)

    def begin_step(self, text: str) -> None:
        """Run the text before the next statement, in a transaction."""
        self.cursor().execute(text)  # type: ignore[attr-defined]

    def send_later(self, text: str) -> bool:  # noqa: ARG002 - as `Adapter`
        """Run the text before the next statement; return False where the caller has to run it now."""
        return False

    def take_beginning(self) -> str:
        """Return the text of `begin_step`, which the caller runs or drops; empty where it has run."""
        return ""

    def send_beginning(self) -> None:
        """Run the text of `begin_step`, if it did not run yet."""
        self.settle()

    @property
    def is_in_transaction(self) -> bool:
        """Whether the server has a transaction; no server has one of a lost connection."""
        return not self.driver.is_closed() and bool(self.driver.is_in_transaction())

    @property
    def driver_connection(self) -> Any:
        """The driver's connection, for a revision."""
        self.send_beginning()
        self.is_reached = True  # type: ignore[misc]
        if self.watch is not None:
            self.watch.reached()
        return super().driver_connection  # type: ignore[misc]

    def run_async(self, function: Callable[[Any], Awaitable[Any]]) -> Any:
        """Call the function with the driver's connection and await its result."""
        return await_only(function(self.driver_connection))

    @contextmanager
    def watched(self, sql: str) -> Iterator[None]:
        """Call the watch for a text that the block sends."""
        watch = self.watch or Watch()
        watch.before(sql)
        try:
            yield
        except BaseException as error:
            watch.failed(sql, error)
            raise
        watch.done(sql)

    def commit(self) -> None:
        """Commit."""
        with self.watched("COMMIT"):
            self.take_beginning()
            super().commit()  # type: ignore[misc]

    def rollback(self) -> None:
        """Roll back."""
        with self.watched("ROLLBACK"):
            self.take_beginning()
            super().rollback()  # type: ignore[misc]


class Adapter(Watched, AsyncAdapt_asyncpg_connection):
    """SQLAlchemy's adapter of asyncpg, which reports each statement to a `Watch`."""

    __slots__ = ("_beginning", "before_sending", "is_reached", "runs_step", "watch")
    _cursor_cls = _Cursor

    def cursor(self, server_side: bool = False) -> Any:  # noqa: FBT001 - as declared
        """Return a cursor; one of the server does not run the text of `begin_step`."""
        self.settle()
        if server_side:
            self.send_beginning()
        return super().cursor(server_side)

    def begin_step(self, text: str) -> None:
        """Run the text before the next statement, in a transaction, and in the same message if possible."""
        self._beginning = f"{text};"

    def send_later(self, text: str) -> bool:
        """Run the text as `begin_step` does."""
        self._beginning += f"{text};"
        return True

    def take_beginning(self) -> str:
        """Return the text of `begin_step`, which the caller runs or drops; empty where it has run."""
        text, self._beginning = self._beginning, ""
        return text

    def send_beginning(self) -> None:
        """Run the text of `begin_step`, if it did not run yet."""
        self.settle()
        if self._beginning:
            self.cursor().send_beginning()

    @property
    def driver(self) -> asyncpg.Connection:
        """The driver's connection."""
        return cast("asyncpg.Connection", self._connection)

    @property
    def has_lost_transaction(self) -> bool:
        """Whether the transaction that the adapter has begun was ended past it."""
        return self._transaction is not None and not self.is_in_transaction


def adapt(dbapi: Any, connection: Awaitable[asyncpg.Connection]) -> Adapter:
    """Await the connection, return its adapter, without prepared statements: they fail after an ALTER."""
    adapter: Adapter = await_only(Adapter.create(dbapi, connection, prepared_statement_cache_size=0))
    adapter.before_sending = adapter.watch = None
    adapter.runs_step, adapter.is_reached, adapter._beginning = False, False, ""
    return adapter
