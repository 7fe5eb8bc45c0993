"""Autocommit mode, for steps that declare `transactional = False` and for blocks of other steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from alembic.operations import Operations
from sqlalchemy import event
from sqlalchemy.util import await_only

from circle_migrate.indexes import drop_invalid
from circle_migrate.postgres.identifier import literal
from circle_migrate.postgres.sql_text import split_statements, without_comments_and_literals

if TYPE_CHECKING:
    import asyncpg
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from circle_migrate.postgres.simple_protocol import Adapter

_NEEDS_AUTOCOMMIT = re.compile(
    r"(?:(?:create|drop)\s+(?:unique\s+)?index\s+concurrently|reindex\b.*\bconcurrently"
    r"|alter\s+table\b.*\bdetach\s+partition\b.*\bconcurrently|vacuum|alter\s+system"
    r"|(?:create|drop)\s+(?:database|tablespace))\b",
    re.IGNORECASE | re.DOTALL,
)


def needs_autocommit(sql: str) -> bool:
    """Return whether the text has a statement that PostgreSQL refuses in a transaction."""
    statements = map(without_comments_and_literals, split_statements(sql))
    return any(map(_NEEDS_AUTOCOMMIT.match, statements))


@contextmanager
def autocommit(context: MigrationContext) -> Iterator[None]:
    """Commit, run the block in autocommit mode, and begin the transaction that writes the version table.

    Raises `RuntimeError` where the block leaves a transaction open, which is rolled back.
    """
    if context.as_sql or context.connection is None:
        context.impl.emit_commit()
        yield
        context.impl.emit_begin()
        return
    connection = context.connection
    transaction = connection.get_transaction()  # another one than Alembic's after a commit of the step
    if transaction is not None:
        transaction.commit()
    context._transaction = None
    level = connection.get_isolation_level()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    adapter = cast("Adapter", connection.connection.dbapi_connection)
    try:
        with _building_indexes(Operations(context), connection, adapter.driver):
            try:
                yield
                if adapter.is_in_transaction:
                    raise RuntimeError("the step leaves a transaction open that it began")
            finally:
                if adapter.is_in_transaction:
                    await_only(adapter.driver.execute("ROLLBACK"))
    finally:
        if connection.in_transaction():
            connection.rollback()  # SQLAlchemy's transaction object; the server has no transaction
        if not adapter.driver.is_closed():  # SQLAlchemy would connect again, without our lock
            connection.execution_options(isolation_level=level)
    context._transaction = connection.begin()


@contextmanager
def _building_indexes(op: Operations, connection: Connection, driver: asyncpg.Connection) -> Iterator[None]:
    """Turn off lock_timeout for concurrent builds, which block no session and are INVALID if they fail.

    The INVALID index that an interrupted build has left is dropped before the same build.
    """
    saved: list[str] = []

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        is_build = needs_autocommit(statement)
        if is_build:
            drop_invalid(op, statement)
        if is_build and not saved:
            saved.append(await_only(driver.fetchval("SHOW lock_timeout")))
            await_only(driver.execute("SET lock_timeout = 0"))
        elif not is_build:
            restore()

    def restore() -> None:
        if saved and not driver.is_closed():
            await_only(driver.execute(f"SET lock_timeout = {literal(saved.pop())}"))

    event.listen(connection, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", before)
        restore()
