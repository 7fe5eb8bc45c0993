"""SQLAlchemy's connection on asyncpg, with the simple protocol for statements without parameters.

The simple protocol takes several statements in one text and saves a round trip, but asyncpg discards rows
there. So only text that needs no rows goes through it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncAdapt_asyncpg_connection,
    AsyncAdapt_asyncpg_cursor,
)
from sqlalchemy.util import await_only

from circle_migrate.postgres.statements import split_last_rows

if TYPE_CHECKING:
    import asyncpg

_ROW_COUNT = re.compile(r"(?:SELECT|UPDATE|DELETE|MERGE|INSERT \d+) (\d+)")


class _Cursor(AsyncAdapt_asyncpg_cursor):
    __slots__ = ()

    async def _prepare_and_execute(self, operation: str, parameters: Any) -> None:
        rest = operation
        if not parameters:
            without_rows, rest = split_last_rows(operation)
            if without_rows:
                await self._execute_simple(without_rows)
        if rest or not operation:
            await super()._prepare_and_execute(rest, parameters)  # type: ignore[no-untyped-call]

    async def _execute_simple(self, sql: str) -> None:
        adapter = self._adapt_connection
        async with adapter._execute_mutex:
            if adapter._transaction is None:
                await adapter._start_transaction()  # type: ignore[no-untyped-call]
            try:
                status = await self._connection.execute(sql)  # type: ignore[attr-defined]
                # The text may have changed a type that the driver has read; this sends nothing.
                await self._connection.reload_schema_state()
            except Exception as error:  # noqa: BLE001 - it is raised as an error of SQLAlchemy
                self._handle_exception(error)  # type: ignore[no-untyped-call]
        self._rows = deque()
        self._description = None
        count = _ROW_COUNT.match(status or "")
        self._rowcount = int(count[1]) if count else -1


class _Connection(AsyncAdapt_asyncpg_connection):
    __slots__ = ()
    _cursor_cls = _Cursor


def adapt(dbapi: Any, connecting: Awaitable[asyncpg.Connection]) -> Any:
    """Await the driver's connection and return SQLAlchemy's adapter of it.

    The adapter keeps no prepared statements, which fail after an ALTER of what they read.
    """
    return await_only(_Connection.create(dbapi, connecting, prepared_statement_cache_size=0))
