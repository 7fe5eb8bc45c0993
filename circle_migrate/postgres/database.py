"""One database of a deployment: how to connect to it, what it says about itself, its tree.

Reading goes over asyncpg alone, in READ ONLY transactions, so that looking can never write and needs
neither SQLAlchemy nor Alembic. Working connections for steps are SQLAlchemy's, on the same driver and made
by the same `connect`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from circle_migrate.core.errors import MigrateError, MissingPrivilege, Refused
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.protection_marker import ProtectionMarker
from circle_migrate.postgres.server_errors import connecting, privilege_hint, server_message, statement_error
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.index import read_graph

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from circle_migrate.config.settings import DatabaseSettings
    from circle_migrate.config.url.address import Address

APPLICATION_NAME = "circle-migrate"

RUNS = "circle_migrate_runs"
STEPS = "circle_migrate_steps"
PROTECTION = "circle_migrate_protection"
"""The marker of a protected database: a row in this table."""

OWN_TABLES = (RUNS, STEPS, PROTECTION)
"""What we make beside the version table, and nobody's models or revisions know."""

KEPT_SCHEMA = "circle_kept"
"""Where `downgrade --keep` puts what would go."""

GID_PREFIX = "circle_migrate:"
"""What the names of our prepared transactions begin with."""

_STATE = """
SELECT current_database() AS name, current_user AS role, pg_backend_pid() AS pid,
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::bigint AS oid,
       CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier FROM pg_catalog.pg_control_system()) END AS cluster,
       current_setting('server_version') AS server_version,
       current_setting('server_version_num')::int AS server_version_num,
       pg_is_in_recovery() AS standby,
       current_setting('default_transaction_read_only') = 'on' AS read_only,
       coalesce($2, current_schema())::text AS schema,
       CASE WHEN coalesce($2, current_schema()) IS NOT NULL
            THEN to_regclass(format('%I.%I', coalesce($2, current_schema()), $1::text))::oid::bigint
       END AS version_table,
       CASE WHEN coalesce($2, current_schema()) IS NOT NULL
            THEN to_regclass(format('%I.%I', coalesce($2, current_schema()), $3::text)) IS NOT NULL
       END AS journaled,
       CASE WHEN coalesce($2, current_schema()) IS NOT NULL
            THEN has_table_privilege(to_regclass(format('%I.%I', coalesce($2, current_schema()), $5::text)),
                                     'SELECT')
       END AS may_read_marker,
       ARRAY(SELECT gid FROM pg_catalog.pg_prepared_xacts
             WHERE database = current_database() AND left(gid, length($4)) = $4) AS in_doubt
"""


class State(NamedTuple):
    """What one database said about itself in one READ ONLY transaction.

    `cluster` and `oid` together identify a database wherever it is reached from; `current` are the rows of
    the version table, empty where there is none. `standby` and `read_only` say why it cannot be written to,
    `journal_of` for which database its journal was begun, `in_doubt` are prepared transactions of ours,
    `marker` is what protects it.
    """

    database: str
    name: str
    role: str
    server_version: str
    server_version_num: int
    cluster: int | None
    oid: int
    standby: bool
    read_only: bool
    schema: str
    version_table: str
    current: tuple[str, ...]
    journal_of: str | None = None
    in_doubt: tuple[str, ...] = ()
    marker: ProtectionMarker | None = None

    @property
    def identity(self) -> tuple[int, int] | None:
        """The same for two connections exactly where they reach the same database; None where unknown."""
        return None if self.cluster is None else (self.cluster, self.oid)


class Database:
    """A name, an address and a tree. Holds no connection."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.name = settings.name

    @property
    def address(self) -> Address:
        """Where it is. Raises `SettingsError` with both ways out where nobody said."""
        return self.settings.address

    @cached_property
    def graph(self) -> Graph:
        """Its revisions. Raises `TreeError` where the files do not form a tree."""
        return read_graph(self.name, self.settings.revisions, load_module)

    async def connect(
        self, application_name: str = APPLICATION_NAME, *, begin: str = ""
    ) -> asyncpg.Connection:
        """A bare connection with the URL's own settings applied, in the transaction that `begin` begins.

        Raises the errors of `faults`.
        """
        import asyncpg

        with connecting(self.name, self.address):
            arguments = self.address.connect_kwargs()
            arguments["server_settings"] = {"application_name": application_name}
            connection = await asyncpg.connect(**arguments)
            try:
                _still_wanted()
                await connection.execute(f"{begin};{self._session({})}")
            except BaseException:
                connection.terminate()
                raise
        return connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection inside a READ ONLY transaction, rolled back and closed at the end."""
        connection = await self.connect(begin="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield connection
        finally:
            await _close(connection)

    async def state(self) -> State:
        """What the database says about itself. Raises `MissingPrivilege` where it may not be read."""
        async with self.reading() as connection:
            return await self.read_state(connection)

    async def read_state(self, connection: asyncpg.Connection) -> State:
        """`state` over a connection that is open already."""
        table = self.settings.version_table
        try:
            row = await connection.fetchrow(
                _STATE, table, self.settings.version_table_schema, RUNS, GID_PREFIX, PROTECTION
            )
            if row["schema"] is None:
                raise MissingPrivilege(
                    f"{self.name}: the role {row['role']!r} may not use any schema of its search_path",
                    database=self.name,
                    hint=f'GRANT USAGE ON SCHEMA {self.settings.search_path} TO "{row["role"]}";',
                )
            current, journal_of, marker = await self._contents(connection, row)
        except MigrateError:
            raise
        except Exception as error:
            raise self._reading_fault(error) from error
        return State(
            database=self.name,
            name=row["name"],
            role=row["role"],
            server_version=row["server_version"].partition(" ")[0],
            server_version_num=row["server_version_num"],
            cluster=row["cluster"],
            oid=row["oid"],
            standby=row["standby"],
            read_only=row["read_only"],
            schema=row["schema"],
            version_table=self.settings.version_table,
            current=current,
            journal_of=journal_of,
            in_doubt=tuple(row["in_doubt"]),
            marker=marker,
        )

    async def tables(self) -> tuple[str, ...]:
        """The tables in the schema of the version table, by name, without those of Alembic and our own."""
        async with self.reading() as connection:
            rows = await connection.fetch(
                "SELECT relname FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
                "AND relnamespace = to_regnamespace(quote_ident(coalesce($2, current_schema()))) "
                "AND relname <> ALL($1::text[]) ORDER BY relname",
                [self.settings.version_table, *OWN_TABLES],
                self.settings.version_table_schema,
            )
        return tuple(row["relname"] for row in rows)

    async def _contents(
        self, connection: asyncpg.Connection, row: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], str | None, ProtectionMarker | None]:
        """The rows of the version table, for which database the journal was begun, and the marker."""
        schema = quote(row["schema"])
        table = f"{schema}.{quote(self.settings.version_table)}"
        versions, journal, marker = "SELECT NULL::text LIMIT 0", "NULL", "NULL"
        if row["version_table"] is not None:
            versions = f"SELECT version_num::text FROM {table} ORDER BY 1"
        if row["journaled"]:
            journal = f"SELECT database FROM {schema}.{quote(RUNS)} LIMIT 1"
        if row["may_read_marker"]:
            marker = f"SELECT to_json(marker)::text FROM {schema}.{quote(PROTECTION)} marker LIMIT 1"
        try:
            found = await connection.fetchrow(f"SELECT ARRAY({versions}), ({journal}), ({marker})")
        except Exception as error:
            if getattr(error, "sqlstate", None) == "42703":
                raise Refused(
                    f"{self.name}: {table} exists and is not Alembic's: it has no column version_num",
                    database=self.name,
                    hint=f"name another table: [tool.circle-migrate.databases.{self.name}] version-table",
                ) from error
            raise
        protecting = ProtectionMarker() if row["may_read_marker"] is False else None
        return tuple(found[0]), found[1], ProtectionMarker.from_row(found[2]) if found[2] else protecting

    def _reading_fault(self, error: Exception) -> MigrateError:
        fault = statement_error(error, self.name, "read where the database is")
        if isinstance(fault, MissingPrivilege):
            fault.hint = privilege_hint(server_message(error), self.address.user, needed="SELECT")
        return fault or MigrateError(
            f"{self.name}: its state cannot be read", database=self.name, detail=server_message(error)
        )

    @asynccontextmanager
    async def working(
        self, application_name: str, settings: Mapping[str, str]
    ) -> AsyncIterator[AsyncConnection]:
        """A connection for steps, with these settings on its session. The only one that can write."""
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        async def creator(*_: Any, **__: Any) -> asyncpg.Connection:
            connection = await self.connect(application_name)
            await connection.execute(self._session(settings))
            return connection

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=creator,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"prepared_statement_cache_size": 0},
        )
        with connecting(self.name, self.address):
            connection = await engine.connect()
        try:
            yield connection
        finally:
            try:
                await connection.close()
            except Exception:  # noqa: BLE001 - closing what has gone must not hide why it has
                await connection.invalidate()

    def _session(self, settings: Mapping[str, str]) -> str:
        """SET statements, since poolers refuse settings in the start-up packet."""
        own = {"search_path": self.settings.search_path, **self.address.session_settings, **settings}
        return ";".join(
            f"SET {name} = {value if name == 'search_path' else literal(value)}"
            for name, value in own.items()
        )


def _still_wanted() -> None:
    """Raise the cancellation that arrived while connecting: on Python 3.11 the way there can lose it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _close(connection: asyncpg.Connection) -> None:
    """Close politely, but never wait for a server that has gone: ROLLBACK is implied by the end."""
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(connection.close())
    except Exception:  # noqa: BLE001 - whatever closing raises, the connection is gone
        connection.terminate()


def load_module(path: Path) -> Any:
    """A revision file as a module, for what its text does not say; Alembic is imported only then."""
    from circle_migrate.revision_graph.modules import load_module

    return load_module(path)
