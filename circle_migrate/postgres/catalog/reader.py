"""Read the catalog over one connection many times."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.postgres.catalog.read import object_ids, read_catalog
from circle_migrate.postgres.catalog.snapshot import ObjectAddress, ObjectKey, Snapshot

_PREPARED = "SELECT name FROM pg_catalog.pg_prepared_statements"

_T = TypeVar("_T")


class CatalogReader:
    """Reads the catalog over the connection of a run, within its transaction.

    Each query is prepared once, as to plan the queries takes three times as long as to run them on a database
    of a few tables. Raises the driver's errors.
    """

    def __init__(self, connection: asyncpg.Connection, settings: DatabaseSettings) -> None:
        self._connection, self._settings = connection, settings
        self._statements: dict[str, PreparedStatement[Any]] = {}

    async def snapshot(self) -> Snapshot:
        """Return all objects, as `read_catalog`."""
        return await self._read(
            lambda table: read_catalog(
                self._connection, self._settings.name, "scratch", *table, fetch=self.fetch
            )
        )

    async def object_ids(self) -> dict[ObjectKey, ObjectAddress]:
        """Return the ids of objects, as `object_ids`."""
        return await self._read(lambda table: object_ids(self._connection, *table, fetch=self.fetch))

    async def _read(self, read: Callable[[tuple[str, str | None]], Awaitable[_T]]) -> _T:
        table = self._settings.version_table, self._settings.version_table_schema
        try:
            return await read(table)
        except asyncpg.InvalidSQLStatementNameError:  # a step has sent DEALLOCATE
            self._statements.clear()
            return await read(table)

    async def forget_deallocated(self) -> None:
        """Prepare again what a step has deallocated; `fetch` would fail, and with it the transaction."""
        if self._statements:
            rows = await self._connection.fetch(_PREPARED)
            names = {row["name"] for row in rows}
            self._statements = {
                query: statement for query, statement in self._statements.items() if statement.get_name() in names
            }

    async def fetch(self, query: str, *values: object) -> Any:
        """Return the rows of a query, which is prepared once."""
        if not isinstance(self._connection, asyncpg.Connection):  # psycopg
            return await self._connection.fetch(query, *values)
        if query not in self._statements:
            # A statement without a name is planned at each execution.
            self._statements[query] = await self._connection.prepare(query, name=True)
        return await self._statements[query].fetch(*values)
