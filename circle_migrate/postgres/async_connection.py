"""SQLAlchemy's connection for coroutines.

`sqlalchemy.ext.asyncio` has one, too, but imports the ORM, which takes an eighth of the start of a short run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.util import greenlet_spawn

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect, Engine

P = ParamSpec("P")
T = TypeVar("T")


class AsyncConnection:
    """A connection whose methods run in a greenlet, from which the driver awaits the server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, engine: Engine) -> AsyncConnection:
        """Connect."""
        return cls(await greenlet_spawn(engine.connect))

    @property
    def dialect(self) -> Dialect:
        """The dialect."""
        return self._connection.dialect

    def in_transaction(self) -> bool:
        """Return whether a transaction was begun."""
        return self._connection.in_transaction()

    async def run_sync(
        self, function: Callable[Concatenate[Connection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """Call the function with SQLAlchemy's connection first."""
        return await greenlet_spawn(partial(function, self._connection, *arguments, **options))

    async def adapter(self) -> Any:
        """Return SQLAlchemy's adapter of the driver's connection."""
        return await self.run_sync(lambda connection: connection.connection.dbapi_connection)

    async def begin(self) -> None:
        """Begin a transaction."""
        await greenlet_spawn(self._connection.begin)

    async def commit(self) -> None:
        """Commit."""
        await greenlet_spawn(self._connection.commit)

    async def rollback(self) -> None:
        """Roll back."""
        await greenlet_spawn(self._connection.rollback)

    async def invalidate(self) -> None:
        """Drop the driver's connection, which is lost."""
        await greenlet_spawn(self._connection.invalidate)

    async def close(self) -> None:
        """Close the connection, which rolls back."""
        await greenlet_spawn(self._connection.close)
