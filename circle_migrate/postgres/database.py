"""A database of a deployment: its connections, its state and its revisions.

Reads use asyncpg in READ ONLY transactions, without SQLAlchemy and Alembic, and can never write. Connections
for steps are SQLAlchemy's, created by the same `connect` on the same driver, or by psycopg.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from circle_migrate.core.errors import MigrateError, MissingPrivilege, Unreachable
from circle_migrate.postgres import journal_tables, server_errors
from circle_migrate.postgres.identifier import FIRST_OID, literal, quote
from circle_migrate.postgres.load_psycopg import load_psycopg
from circle_migrate.postgres.missing_tls import warn_of_missing_tls
from circle_migrate.postgres.search_path import (
    CONFIGURED,
    CONFIGURED_LOCALLY,
    FIRST_SCHEMA,
    TRUSTED_OWNERS,
    no_schema_error,
    pin,
)
from circle_migrate.postgres.unsafe_table import COLUMNS, OBJECTS, UnsafeTable
from circle_migrate.revision_graph.directory import ensure_nothing_elsewhere, revision_folders
from circle_migrate.revision_graph.graph import Graph
from circle_migrate.revision_graph.revision_cache import read_graph

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.config.settings import DatabaseSettings
    from circle_migrate.config.url.address import Address
    from circle_migrate.postgres.async_connection import AsyncConnection
    from circle_migrate.postgres.psycopg_driver import Driver

APPLICATION_NAME = "circle-migrate"
_CLOSE_SECONDS = 2.0

GID_PREFIX = "circle_migrate:"
"""Prefix of the identifiers of our prepared transactions."""

_STATE = f"""
WITH own (schema, journal) AS (
    SELECT coalesce($2::name, {FIRST_SCHEMA})::text, current_setting('{journal_tables.JOURNAL_SETTING}')
), trusted AS MATERIALIZED ({TRUSTED_OWNERS}), objects AS ({OBJECTS})
SELECT current_database() AS name, current_user AS role, pg_backend_pid() AS pid,
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::bigint AS oid,
       CASE WHEN has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
            THEN (SELECT system_identifier FROM pg_catalog.pg_control_system()) END AS cluster,
       current_setting('server_version') AS server_version,
       current_setting('server_version_num')::int AS server_version_num,
       pg_is_in_recovery() AS standby,
       NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= {FIRST_OID}) AS is_empty,
       current_setting('default_transaction_read_only') = 'on' AS read_only,
       own.schema, own.journal, {journal_tables.TABLES} AS tables, {COLUMNS},
       ARRAY(SELECT gid FROM pg_catalog.pg_prepared_xacts
             WHERE database = current_database() AND left(gid, length($3)) = $3) AS prepared
FROM own
"""

_VISIBLE_TABLES = f"""
WITH path AS MATERIALIZED ({CONFIGURED_LOCALLY}, current_schemas(false) AS schemas)
SELECT CASE WHEN nspname = path.schemas[1] THEN '' ELSE nspname || '.' END || relname AS name
FROM path CROSS JOIN pg_class c JOIN pg_namespace n ON n.oid = relnamespace AND nspname = ANY (path.schemas)
WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname <> ALL ($1::text[])
ORDER BY array_position(path.schemas, nspname), relname
"""

_STATE_FIELDS = (
    *("name", "role", "server_version_num", "cluster", "oid"),
    *("standby", "read_only", "schema", "is_empty"),
)


class State(NamedTuple):
    """The state of a database, read in one READ ONLY transaction.

    `cluster` and `oid` together identify a database independently of its address. `current` has the rows of
    the version table, and is empty without one. `journal_of` is the database for which the journal was
    created, `in_doubt` has the identifiers of our prepared transactions, `not_ours` those that have our
    prefix, but no run in the journal. `journal` is the start of the names of our tables, as SQL; the next run
    moves them to `journal_schema`. `id_length` is the length of ids that the version table can hold, None
    without a limit. `unfinished` are steps without transaction that runs began and did not complete.
    A database that `is_empty` has no relation but those of the server.
    `unsafe_table` would run code if it was written; `reads_only` says that the role may write none of ours.
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
    journal_schema: str
    journal: str
    current: tuple[str, ...]
    journal_of: str | None = None
    in_doubt: tuple[str, ...] = ()
    not_ours: tuple[str, ...] = ()
    marker: journal_tables.ProtectionMarker | None = None
    id_length: int | None = None
    unfinished: tuple[journal_tables.UnfinishedStep, ...] = ()
    unsafe_table: UnsafeTable | None = None
    reads_only: bool = False
    is_empty: bool = False

    @property
    def identity(self) -> tuple[int, int] | None:
        """Equal for two connections exactly if they reach the same database; None if unknown."""
        return None if self.cluster is None else (self.cluster, self.oid)


@contextmanager
def terminated_on_error(connection: asyncpg.Connection) -> Iterator[None]:
    """Close a new connection if its first statements fail or are cancelled."""
    try:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # on Python 3.11, connecting can lose it
            raise asyncio.CancelledError
        yield
    except BaseException:
        connection.terminate()
        raise


class Database:
    """A database with its settings and revisions, without a connection."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.name = settings.name

    @property
    def address(self) -> Address:
        """The address. Raises `SettingsError` if no URL was set."""
        return self.settings.address

    async def authenticated_address(self) -> Address:
        """Return the address with the password of a new connection. Raises `PasswordCommandFailed`."""
        command = self.address.password_command
        if command is None:
            return self.address
        from circle_migrate.postgres.password_command import with_password

        return await with_password(self.name, self.address, command)

    @cached_property
    def graph(self) -> Graph:
        """The revisions. Raises `TreeError` for an invalid graph, `SettingsError` if all are elsewhere."""
        graph = read_graph(self.name, self.revision_folders)
        if not graph:
            ensure_nothing_elsewhere(self.name, self.settings.revisions.folders)
        return graph

    @cached_property
    def revision_folders(self) -> tuple[Path, ...]:
        """The folders of the revision files; new ones belong into the first."""
        return revision_folders(self.settings.revisions.folders, recursive=self.settings.revisions.recursive)

    async def connect(
        self, application_name: str = APPLICATION_NAME, *, begin: str = ""
    ) -> asyncpg.Connection:
        """Connect, apply the URL's settings, and run the statement `begin`. Raises `MigrateError`."""
        import asyncpg

        address = await self.authenticated_address()
        with server_errors.connection_errors(self.name, address):
            arguments = address.connect_kwargs()
            arguments["server_settings"] = {"application_name": application_name}
            try:
                connection = await asyncpg.connect(**arguments)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
                await warn_of_missing_tls(self.name, address)
                raise
            with terminated_on_error(connection):
                await warn_of_missing_tls(self.name, address, connection)
                await connection.execute(f"{begin};{self.session_sql({})}")
        return connection

    @asynccontextmanager
    async def connected(self, application_name: str = APPLICATION_NAME) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection; it is closed at the end without waiting for the server."""
        connection = await self.connect(application_name)
        try:
            yield connection
        finally:
            connection.terminate()

    @asynccontextmanager
    async def reading(self, *, wait: bool = True) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection in a READ ONLY transaction; it is rolled back and closed at the end.

        Without `wait` it is closed while the caller goes on, which may then not depend on that.
        """
        connection = await self.connect(begin="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        seconds = _CLOSE_SECONDS
        try:
            with server_errors.lost_connection_errors(self.name, connection):
                yield connection
        except asyncio.CancelledError:
            seconds /= 4
            raise
        finally:
            closing = asyncio.ensure_future(_close(connection, seconds))
            await (closing if wait else asyncio.sleep(0))

    async def state(self) -> State:
        """Read the state. Raises `MissingPrivilege`, and the errors of connecting."""
        async with self.reading() as connection:
            return await self.read_state(connection)

    async def read_state(self, connection: asyncpg.Connection) -> State:
        """Read the state over an open connection."""
        settings = self.settings
        tables = [settings.version_table, *journal_tables.NAMES, *journal_tables.OWN_TABLES]
        role = self.address.user
        try:
            names = (settings.version_table, settings.version_table_schema)
            arguments = (*names, GID_PREFIX, tables, settings.journal_schema)
            row = await connection.fetchrow(_STATE, *arguments)
            role = row["role"]  # ALTER ROLE ... SET role may have set another one
            if row["schema"] is None:
                raise await no_schema_error(connection, self.name, row["role"])
            journal_tables.ensure_not_in_search_path(settings, [row["schema"]])
            contents = await journal_tables.read_contents(connection, settings, row)
            gids = row["prepared"] if contents["journal_of"] else ()
            in_doubt = await journal_tables.prepared_by_runs(connection, contents["journal"], gids)
        except MigrateError:
            raise
        except Exception as error:
            message = server_errors.server_message(error)
            failure = server_errors.statement_error(error, self.name, "read the state of the database")
            if isinstance(failure, MissingPrivilege):
                schema = quote(settings.journal_schema)
                failure.hint = server_errors.privilege_hint(message, role, "SELECT", schema)
            unnamed = f"{self.name}: its state cannot be read"
            raise failure or MigrateError(unnamed, database=self.name, detail=message) from error
        return State(
            **{field: row[field] for field in _STATE_FIELDS},
            database=self.name,
            server_version=row["server_version"].partition(" ")[0],
            version_table=settings.version_table,
            journal_schema=settings.journal_schema,
            in_doubt=in_doubt,
            reads_only=row["reads_only"],
            unsafe_table=UnsafeTable.from_row(row["unsafe_table"]) if row["unsafe_table"] else None,
            not_ours=tuple(gid for gid in row["prepared"] if gid not in in_doubt),
            **contents,
        )

    async def tables(self) -> tuple[str, ...]:
        """Return the tables in the schemas of the search_path, except the version table and our own."""
        names = [self.settings.version_table, *journal_tables.OWN_TABLES]
        async with self.reading() as connection:
            return tuple(row["name"] for row in await connection.fetch(_VISIBLE_TABLES, names))

    @asynccontextmanager
    async def working(
        self, application_name: str, settings: Mapping[str, str], *, pinned: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for steps, with these session settings. Only this connection can write.

        It has the configured search_path, unless the caller runs revisions and sets it where it is needed
        (`pinned`); then it is of the driver in the settings. Raises `SettingsError` where that is missing.
        """
        from sqlalchemy import Engine, create_engine
        from sqlalchemy.pool import NullPool

        from circle_migrate.postgres.async_connection import AsyncConnection
        from circle_migrate.postgres.simple_protocol import adapt

        open_connection: Callable[[str], Awaitable[Any]] = self.connect
        is_psycopg = pinned and self.settings.driver == "psycopg"
        if is_psycopg:
            adapt, open_connection = load_psycopg(self.name).adapt, self._connect_psycopg
        connections: list[Any] = []

        async def connect() -> Any:
            if connections and not connections[0].is_closed():
                raise RuntimeError("a revision has only one connection, op.get_bind()")
            if connections:  # SQLAlchemy replaces a lost connection, but ours has a lock and settings
                raise Unreachable(f"{self.name}: the connection was lost", database=self.name)
            connection = await open_connection(application_name)
            connections.append(connection)
            await connection.execute(self.session_sql(settings) + ("" if pinned else f";{CONFIGURED}"))
            return connection

        engine: Engine = create_engine(
            f"postgresql+{'psycopg_async' if is_psycopg else 'asyncpg'}://",
            creator=lambda: adapt(engine.dialect.dbapi, connect()),
            poolclass=NullPool,
            hide_parameters=True,
            _is_async=True,
        )
        engine.dialect.get_driver_connection = _driver_connection  # type: ignore[method-assign]
        if is_psycopg:
            load_psycopg(self.name).number_own_parameters(engine)
        with server_errors.connection_errors(self.name, self.address):
            connection = await AsyncConnection.connect(engine)
        try:
            with server_errors.lost_connection_errors(self.name, connections[0]):
                yield connection
        finally:
            with suppress(Exception):  # an error of closing must not hide the first error
                await (connection.invalidate() if connections[0].is_closed() else connection.close())
            connections[0].terminate()

    async def _connect_psycopg(self, application_name: str) -> Driver:
        address = await self.authenticated_address()
        try:
            driver: Driver = await load_psycopg(self.name).connect(address, application_name)
        except Exception as error:
            (await self.connect()).terminate()  # says why: psycopg's error has no SQLSTATE
            raise server_errors.connection_error(error, self.name, self.address) from error
        return driver

    def session_sql(self, settings: Mapping[str, str]) -> str:
        """Return SET statements, because poolers refuse settings in the startup packet.

        With row_security off, the server refuses what policies would silently hide rows from.
        """
        merged = {"row_security": "off", **self.address.session_settings, **settings}
        path = merged.pop("search_path", self.settings.search_path)
        sets = (f"SET {name} = {literal(value)}" for name, value in merged.items())
        return ";".join((pin(path), *sets, journal_tables.find_journal(self.settings)))


def _driver_connection(connection: Any) -> Any:
    """Return the driver's connection by the adapter's property, which tells its watch."""
    return connection.driver_connection


async def _close(connection: asyncpg.Connection, seconds: float) -> None:
    """Close a connection, without waiting long for the server; the end of the session rolls back."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(connection.close())
    except Exception:  # noqa: BLE001 - terminate the connection after any error
        connection.terminate()
