"""Alembic's migration context, operations and global names, for one step at a time."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

from circle_migrate.core.errors import Refused
from circle_migrate.indexes import drop_invalid
from circle_migrate.revision_graph.modules import load
from circle_migrate.revision_graph.revision import Revision

if TYPE_CHECKING:
    from alembic.operations.ops import MigrateOperation
    from sqlalchemy.engine import Connection


_STEP = threading.Lock()


@asynccontextmanager
async def one_at_a_time() -> AsyncIterator[None]:
    """The right to run, rehearse or render steps: Alembic's global names belong to one caller of a process.

    A thread's lock, as event loops in other threads compete for the same names.
    """
    while not _STEP.acquire(blocking=False):  # noqa: ASYNC110 - a thread's lock has no event to await
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _STEP.release()


# The driver's dialect: plain "postgresql" doubles every % in offline SQL (sqlalchemy/alembic#562).
_DIALECT = "postgresql+asyncpg"


@dataclass(frozen=True, slots=True)
class VersionTable:
    """Where a database keeps its current revisions."""

    name: str = "alembic_version"
    schema: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keywords Alembic takes for it."""
        return {"version_table": self.name, "version_table_schema": self.schema}


class OutsideTransaction(Refused):
    """A step left its transaction without having declared `transactional = False`."""

    code = "not-transactional"


class Context(MigrationContext):
    """A context that refuses to commit behind the back of whoever owns the transaction."""

    owned_by_us = False
    known_heads: tuple[str, ...] = ()
    revision: Revision | None = None

    def get_current_heads(self) -> tuple[str, ...]:
        """Those we know; an empty table has to be looked for, as it may have to be made."""
        return self.known_heads or super().get_current_heads()

    def refusal(self, what: str) -> OutsideTransaction:
        """The error for a revision that must not be in a transaction and does not say so."""
        revision = self.revision
        return OutsideTransaction(
            f"revision {revision.id if revision else '?'} {what} and does not say so",
            database=revision.database if revision else None,
            location=revision.location if revision else None,
            state="nothing of its segment was applied",
            hint="write `transactional = False` below its `revision`; it then has a segment of its own",
        )

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        """Alembic's, refused where the transaction is ours, and with no lock_timeout inside."""
        if self.owned_by_us:
            raise self.refusal("uses autocommit_block")
        with super().autocommit_block():
            if self.as_sql or self.connection is None:
                yield
                return
            # A build that waits for older transactions holds up nobody; ending it leaves an INVALID index.
            before = self.connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
            self.connection.exec_driver_sql("SET lock_timeout = 0")
            try:
                yield
            finally:
                self.connection.exec_driver_sql(f"SET lock_timeout = '{before}'")


_ENDS_TRANSACTION = re.compile(
    r"\s*(?:commit|end|abort|begin|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!\s+(?:work\s+|transaction\s+)?to))\b",
    re.IGNORECASE,
)


@contextmanager
def keep_transaction(connection: Connection, context: Context) -> Iterator[None]:
    """Refuse a step that would commit or roll back the transaction it shares with others."""

    def refuse(*_: object) -> None:
        raise context.refusal("ends the transaction it runs in")

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if _ENDS_TRANSACTION.match(statement):
            refuse()

    listeners: dict[str, Callable[..., None]] = {
        "commit": refuse,
        "rollback": refuse,
        "before_cursor_execute": look,
    }
    for name, listener in listeners.items():
        event.listen(connection, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(connection, name, listener)


@contextmanager
def bound(context: MigrationContext, revision: Revision) -> Iterator[None]:
    """The revision's `op` bound to this context, and Alembic's global names too while the step runs."""
    operations = _operations(context)
    loaded = load(revision.path, revision.checksum)
    for name, function in loaded.operations.items():
        setattr(loaded.module, name, getattr(operations, function) if function else operations)
    environment = EnvironmentContext(Config(), None)  # type: ignore[arg-type]
    environment._migration_context = context
    operations._install_proxy()
    environment._install_proxy()
    try:
        yield
    finally:
        environment._remove_proxy()
        operations._remove_proxy()


def _operations(context: MigrationContext) -> Operations:
    """Operations that clear away what a build cut off by a crash has left, before it is built anew."""
    operations = Operations(context)
    invoke = operations.invoke

    def invoke_after_clearing(operation: MigrateOperation) -> Any:
        if not context.as_sql:
            drop_invalid(operations, operation)
        return invoke(operation)

    operations.invoke = invoke_after_clearing  # type: ignore[method-assign]
    return operations


def dialect() -> Any:
    """The dialect SQL is rendered in."""
    from sqlalchemy.dialects import registry

    return registry.load(_DIALECT.replace("+", "."))()
