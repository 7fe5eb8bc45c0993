"""Create and drop scratch databases on a server, including those that a killed run has left."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg

from circle_migrate.config.url.address import Address
from circle_migrate.core.errors import ExitCode, MigrateError, MigrationFailed, MissingPrivilege, Unreachable
from circle_migrate.core.shield import shield
from circle_migrate.postgres.bounded_read import NO_TIMEOUTS
from circle_migrate.postgres.create_database import locale_options
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.scratch.live_settings import Settings, accepted
from circle_migrate.postgres.server_errors import named_error, scratch_server_lacks, server_message, sqlstate

PREFIX = "circle_scratch_"
LOCK_CLASS = 0x63697263
"""The first key of a run's advisory lock, "circ" in ASCII; the second is the token of the run."""

COMMENT = "scratch database of circle-migrate, dropped after use; without one, the next run drops it"

# The settings of a role, as by ALTER ROLE, also hold on the server of the scratch databases.
_UNLIMITED = {"default_transaction_read_only": "off", "statement_timeout": "0"}
_UNLIMIT = f"{NO_TIMEOUTS}; SET default_transaction_read_only = off; SET lock_timeout = 0"

_CONNECTIONS = 16
_THIS_MACHINE = ("", "localhost", "127.0.0.1", "::1")
_SERVER = "SELECT pg_postmaster_start_time()"
"""The query of what tells servers apart, whatever name or pooler leads to them."""

_ANSWER_SECONDS = 5.0
_CREATES_SCHEMA = re.compile(r"create[\s_]*schema")
_NAME = re.compile(rf"{PREFIX}(?P<token>[0-9a-f]{{8}})_")
_UNDEFINED_OBJECT = "42704"
_MISSING_ROLE = re.compile(r'role "(?P<name>.+)" does not exist')

# One statement, so that the names are read before the locks: a run takes its lock before it creates
# databases.
_STALE_DATABASES = """
SELECT d.datname AS name,
       ARRAY(SELECT objid::bigint::text FROM pg_catalog.pg_locks
             WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = $3 AND granted) AS held
FROM pg_catalog.pg_database d
WHERE left(d.datname, length($1)) = $1 AND pg_has_role(d.datdba, 'USAGE')
  AND coalesce(shobj_description(d.oid, 'pg_database'), $2) = $2
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScratchHost:
    """A server for scratch databases.

    `is_private` is true for temporary servers, where missing roles are created and revisions may change them.
    With `copy_locale`, scratch databases get the encoding and locale of the maintenance database.
    """

    maintenance_database: Database
    is_private: bool = False
    copy_locale: bool = False

    def address(self, database: str) -> Address:
        """Return the address of a database on the server."""
        return self.maintenance_database.address.with_database(database)

    async def has_live_database(self, deployment: Deployment, connection: asyncpg.Connection) -> bool:
        """Return whether the server, to which `connection` leads, has a database of the deployment.

        A database that does not answer is compared by its address.
        """
        if self.is_private:
            return False
        own, places = await connection.fetchval(_SERVER), _places(self.maintenance_database.address)
        for database in deployment.databases.values():
            if database.settings.url is None:
                continue
            try:
                async with asyncio.timeout(_ANSWER_SECONDS), database.connected() as live:
                    is_same = await live.fetchval(_SERVER) == own
            except (MigrateError, TimeoutError):
                is_same = not places.isdisjoint(_places(database.address))
            if is_same:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Scratch:
    """New, empty databases in a `deployment`, with their major versions; others have no address.

    `notes` say which settings of the live databases they lack.
    """

    deployment: Deployment
    majors: Mapping[str, int]
    notes: tuple[str, ...]
    _hosts: Mapping[str, ScratchHost]

    async def run_adding_missing_roles(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work`, again after creating a missing role; remotely, the error's hint creates it."""
        added: set[str] = set()
        while True:
            try:
                return await work()
            except Exception as error:
                role = _missing_role(error)
                is_private = all(host.is_private for host in self._hosts.values())
                if role is None or role in added or not is_private:
                    if isinstance(error, MigrationFailed | Unreachable):
                        _describe_failure(error, role)
                    raise
                async with next(iter(self._hosts.values())).maintenance_database.connected() as connection:
                    await _try_all(connection, [f"CREATE ROLE {quote(role)} NOLOGIN"])
                added.add(role)


@asynccontextmanager
async def create_databases(
    deployment: Deployment,
    hosts: Mapping[str, ScratchHost],
    majors: Mapping[str, int],
    live_settings: Settings,
    *,
    with_schemas: bool = True,
) -> AsyncIterator[Scratch]:
    """Create a database for each name in `hosts`; drop all at the end. Raises `MissingPrivilege`.

    Their sessions get the `live_settings` of the database that the server accepts.
    """
    token = secrets.randbelow(2**31)
    names = {name: f"{PREFIX}{token:08x}_{name}" for name in hosts}
    by_host: dict[ScratchHost, list[str]] = {}
    for name, host in hosts.items():
        by_host.setdefault(host, []).append(name)
    urls: dict[str, Address] = {}
    notes: list[str] = []
    is_shared = False
    async with AsyncExitStack() as stack:
        for host, on_host in by_host.items():
            databases = [names[name] for name in on_host]
            connection = await stack.enter_async_context(_create_on_host(host, token, databases))
            for name in on_host:
                wanted = live_settings.get(name, {})
                given, problems = await accepted(connection, name, wanted)
                urls[name] = host.address(names[name]).with_settings({**given, **_UNLIMITED})
                notes += problems
            is_shared = is_shared or await host.has_live_database(deployment, connection)
        scratch_deployment = _scratch_deployment(deployment, urls, is_server_shared=is_shared)
        scratch = Scratch(scratch_deployment, majors, tuple(notes), hosts)
        for name in hosts if with_schemas else ():
            await _create_schemas(scratch.deployment.databases[name])
        yield scratch


def _scratch_deployment(
    deployment: Deployment, urls: Mapping[str, Address], *, is_server_shared: bool
) -> Deployment:
    databases = {
        name: item.model_copy(update={"url": urls.get(name), "search_path": item.effective_path})
        for name, item in deployment.settings.databases.items()
    }
    changes = {"databases": databases, "embedded": False, "atomic": False, "statement_timeout": 0.0}
    settings = deployment.settings.model_copy(update=changes)
    return Deployment(settings, deployment.selected, is_scratch=True, is_server_shared=is_server_shared)


@asynccontextmanager
async def _create_on_host(
    host: ScratchHost, token: int, names: list[str]
) -> AsyncIterator[asyncpg.Connection]:
    """Create the databases, and drop them at the end; the connection has the lock of their names."""
    async with host.maintenance_database.connected() as connection:
        await connection.execute(_UNLIMIT)
        await _drop_stale(connection)
        await connection.execute(f"SELECT pg_advisory_lock({LOCK_CLASS}, {token})")
        try:
            for name in names:
                await _create(connection, host, name)
            yield connection
        finally:
            if not host.is_private:  # else they end with the server, or the next ones are created
                await shield(_drop(host, connection, names))


async def _create(connection: asyncpg.Connection, host: ScratchHost, name: str) -> None:
    options = ["TEMPLATE template0", f"CONNECTION LIMIT {_CONNECTIONS}"]
    if host.copy_locale:
        options += await locale_options(connection)
    try:
        await connection.execute(f"CREATE DATABASE {quote(name)} {' '.join(options)}")
    except Exception as error:
        database = host.maintenance_database
        failure = named_error(error, database.name, "create a scratch database")
        failure.state = "nothing was changed"
        failure.hint = "use another server for scratch databases: --scratch-url URL"
        if isinstance(failure, MissingPrivilege):
            failure.hint = f"ALTER ROLE {quote(database.address.user)} CREATEDB; or {failure.hint}"
        raise failure from error
    await connection.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {quote(name)} FROM PUBLIC")
    await connection.execute(f"COMMENT ON DATABASE {quote(name)} IS {literal(COMMENT)}")


def _places(address: Address) -> set[tuple[str, int]]:
    """Return the hosts and ports of an address; all names of this machine are one."""
    return {
        ("" if endpoint.is_socket or endpoint.host in _THIS_MACHINE else endpoint.host, endpoint.port)
        for endpoint in address.endpoints
    }


async def _create_schemas(database: Database) -> None:
    """Create the schemas that the settings name and no revision creates; live databases have them."""
    schemas = [database.settings.version_table_schema or ""]
    for schema in database.settings.own_path_schemas:
        files = (Path(revision.path) for revision in database.graph.revisions.values())
        texts = (file.read_text(encoding="utf-8", errors="replace").lower() for file in files)
        if not any(schema.lower() in text and _CREATES_SCHEMA.search(text) for text in texts):
            schemas.append(schema)
    if any(schemas):
        async with database.connected() as connection:
            for schema in filter(None, schemas):
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")


async def _drop_stale(connection: asyncpg.Connection) -> None:
    """Drop the databases that ended runs have left."""
    rows = await connection.fetch(_STALE_DATABASES, PREFIX, COMMENT, LOCK_CLASS)
    matches = ((row, _NAME.match(row["name"])) for row in rows)
    stale = (row for row, match in matches if match and str(int(match["token"], 16)) not in row["held"])
    await _try_all(connection, _drop_statements(row["name"] for row in stale))


async def _drop(host: ScratchHost, connection: asyncpg.Connection, names: list[str]) -> None:
    """Drop the databases, over a new connection if this one is lost; else the next run drops them."""
    with suppress(OSError, MigrateError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
        if not connection.is_closed():
            for statement in _drop_statements(names):
                await connection.execute(statement)
            return
        async with host.maintenance_database.connected() as new_connection:
            await _try_all(new_connection, _drop_statements(names))


def _drop_statements(names: Iterable[str]) -> list[str]:
    return [f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)" for name in names]


async def _try_all(connection: asyncpg.Connection, statements: Iterable[str]) -> None:
    """Run the statements and ignore their errors: another run may drop the same objects, or use them."""
    for statement in statements:
        with suppress(asyncpg.PostgresError):
            await connection.execute(statement)


def _describe_failure(error: MigrateError, role: str | None) -> None:
    """Say that a step failed on a scratch database, and what to do if only its server lacks something."""
    error.message += " on a scratch database"
    error.state = "nothing was changed"
    if error.status == ExitCode.IN_DOUBT:  # what stays is dropped
        error.status, error.hint = ExitCode.FAILED, "correct the cause and run the same command again"
    if role is not None:
        error.hint = f"run on the server of the scratch databases: CREATE ROLE {quote(role)} NOLOGIN;"
    else:
        error.hint = scratch_server_lacks(server_message(error)) or error.hint


def _missing_role(error: Exception) -> str | None:
    match = _MISSING_ROLE.search(server_message(error))
    return match["name"] if match and sqlstate(error) == _UNDEFINED_OBJECT else None
