"""Read the catalog over one connection many times."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.incremental import KnownCatalog, read_signatures
from circle_migrate.postgres.catalog.queries import NESTED_LOOPS, PINS, read_transaction
from circle_migrate.postgres.catalog.read import object_ids, read_objects
from circle_migrate.postgres.catalog.snapshot import ObjectAddress, ObjectKey, Snapshot

_PREPARED = "SELECT name FROM pg_catalog.pg_prepared_statements"

_T = TypeVar("_T")


class CatalogReader:
    """Reads the catalog over the connection of a run, within its transaction; later only what has changed.

    Each query is prepared once, as to plan the queries takes three times as long as to run them on a database
    of a few tables; and again when there are twice as many, for which the plan may be bad. Raises the
    driver's errors.
    """

    def __init__(self, connection: asyncpg.Connection, settings: DatabaseSettings) -> None:
        self._connection, self._settings = connection, settings
        self._statements: dict[tuple[str, int], PreparedStatement[Any]] = {}
        self._known: KnownCatalog | None = None
        self._ids: tuple[Mapping[int, str], frozenset[ObjectAddress]] | None = None

    async def snapshot(
        self, end_later: Callable[[str], bool] | None = None, *, is_pinned: bool = False
    ) -> Snapshot:
        """Return all objects, as `read_catalog`; the same object if nothing has changed.

        `end_later` gets a text that has to run before the next statement of the transaction; it returns
        False if the text shall run now. `is_pinned` says that `NESTED_LOOPS` is set.
        """
        if is_pinned and self._known is not None and await self._known.update(self.fetch):
            return self._known.snapshot
        return (await self._read(partial(self._update, end_later=end_later))).snapshot

    async def object_ids(self) -> dict[ObjectKey, ObjectAddress]:
        """Return the ids of objects, as `object_ids`."""
        return await self._read(lambda table: object_ids(self._connection, *table, fetch=self.fetch))

    async def present_ids(self, *, is_current: bool = False) -> frozenset[ObjectAddress]:
        """Return the ids of all objects, which are read again only if one of them has changed.

        Nothing is read if the last snapshot `is_current`.
        """
        known = self._known if is_current and self._known else await self._read(self._update)
        now = known.signatures.ids
        if self._ids is None or self._ids[0] != now:
            self._ids = now, frozenset((await self.object_ids()).values())
        return self._ids[1]

    async def _update(
        self, table: tuple[str, str | None], end_later: Callable[[str], bool] | None = None
    ) -> KnownCatalog:
        """Bring the catalog up to date: the signatures are read first, as other sessions may change it."""
        is_updated = False

        async def end(text: str) -> None:
            if not (is_updated and end_later is not None and end_later(text)):
                await self._connection.execute(text)

        if self._known is not None:
            async with read_transaction(self._connection, NESTED_LOOPS, end):
                is_updated = await self._known.update(self.fetch)
            if is_updated:
                return self._known
        async with read_transaction(self._connection):
            [context] = await self.fetch(queries.session_context(), *table)
            await self._connection.execute(PINS)
            now = await read_signatures(self.fetch, context, table[0])
            builder = await read_objects(self.fetch, context, table[0])
        name, version = self._settings.name, context["version"]
        snapshot = Snapshot(name, "scratch", version, builder.objects, unmodelled=builder.unmodelled)
        self._known = KnownCatalog(snapshot, now, context, table[0])
        return self._known

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
                key: statement for key, statement in self._statements.items() if statement.get_name() in names
            }

    async def fetch(self, query: str, *values: object) -> Any:
        """Return the rows of a query, which is prepared once for this number of relations."""
        if not isinstance(self._connection, asyncpg.Connection):  # psycopg
            return await self._connection.fetch(query, *values)
        key = query, len(self._known.signatures.versions).bit_length() if self._known else 0
        if key not in self._statements:
            # A statement without a name is planned at each execution.
            self._statements[key] = await self._connection.prepare(query, name=True)
        return await self._statements[key].fetch(*values)
