"""Scratch databases on a server: made together, dropped together, and found again after a kill."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from circle_migrate.core.errors import MigrateError, MissingPrivilege, Unreachable
from circle_migrate.core.shield import shielded
from circle_migrate.postgres.create_like import locale_options
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import literal, quote
from circle_migrate.postgres.server_errors import server_message, sqlstate, statement_error

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.config.url.address import Address

PREFIX = "circle_scratch_"
LOCK_CLASS = 0x63697263
"""The first key of the advisory lock of a run with scratch databases, "circ"; the second is its token."""

COMMENT = "scratch database of circle-migrate, dropped after use; without one, the next run drops it"
_ROLE_COMMENT = "role of circle-migrate's scratch databases, dropped with them"

_CONNECTIONS = 16
_NAME = re.compile(rf"{PREFIX}(?P<token>[0-9a-f]{{8}})_")
_UNDEFINED_OBJECT = "42704"
_MISSING_ROLE = re.compile(r'role "(?P<name>.+)" does not exist')

# In one statement, so that the names are read before the locks: a run has its lock before its databases.
_LEFT_OVER = """
SELECT d.datname AS name,
       ARRAY(SELECT objid::bigint::text FROM pg_catalog.pg_locks
             WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = $3 AND granted) AS held
FROM pg_catalog.pg_database d
WHERE left(d.datname, length($1)) = $1 AND pg_has_role(d.datdba, 'USAGE')
  AND coalesce(shobj_description(d.oid, 'pg_database'), $2) = $2
"""
_OUR_ROLES = "SELECT rolname FROM pg_catalog.pg_roles WHERE shobj_description(oid, 'pg_authid') = $1"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ScratchHost:
    """A server that takes scratch databases, by the database from which they are made there.

    `ours` is the server of a developer's own machine, where missing roles may be added. `alike` gives
    scratch databases the encoding and locale of that database.
    """

    maintenance_database: Database
    is_local: bool = False
    copy_locale: bool = False

    def address(self, database: str) -> Address:
        """The address of a database there."""
        return self.maintenance_database.address.with_database(database)


@dataclass(frozen=True, slots=True)
class Scratch:
    """New, empty databases: the same trees over them as `deployment`.

    `majors` has the PostgreSQL major version of each; a database that was not asked for has no address.
    """

    deployment: Deployment
    majors: Mapping[str, int]
    _places: Mapping[str, ScratchHost]

    async def run_adding_missing_roles(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work`, again after each role it lacks was added, which is done on an embedded server only.

        On other servers the error that names the role is raised, with what to type.
        """
        added: set[str] = set()
        while True:
            try:
                return await work()
            except Exception as error:
                role = _missing_role(error)
                if role is None or role in added:
                    raise
                if not all(place.is_local for place in self._places.values()):
                    if isinstance(error, MigrateError):
                        error.hint = (
                            f"on the server of the scratch databases: CREATE ROLE {quote(role)} NOLOGIN;"
                        )
                    raise
                await _add_role(next(iter(self._places.values())), role)
                added.add(role)


@asynccontextmanager
async def create_databases(
    deployment: Deployment, places: Mapping[str, ScratchHost], majors: Mapping[str, int]
) -> AsyncIterator[Scratch]:
    """A scratch database for each name in `places`; all are dropped at the end.

    Raises `MissingPrivilege` where the role may not create databases, and the errors of connecting.
    """
    token = secrets.randbelow(2**31)
    names = {name: f"{PREFIX}{token:08x}_{name}" for name in places}
    by_keeper: dict[ScratchHost, list[str]] = {}
    for name, place in places.items():
        by_keeper.setdefault(place, []).append(names[name])
    async with AsyncExitStack() as stack:
        for place, wanted in by_keeper.items():
            await stack.enter_async_context(_kept(place, token, wanted))
        yield Scratch(_over(deployment, places, names), majors, places)


def _over(deployment: Deployment, places: Mapping[str, ScratchHost], names: Mapping[str, str]) -> Deployment:
    databases = tuple(
        database_settings._replace(
            url=places[database_settings.name].address(names[database_settings.name])
            if database_settings.name in places
            else None
        )
        for database_settings in deployment.settings.databases
    )
    settings = deployment.settings._replace(databases=databases, embedded=False, atomic=False)
    return Deployment(settings, deployment.selected[0] if len(deployment.selected) == 1 else None)


@asynccontextmanager
async def _kept(place: ScratchHost, token: int, names: list[str]) -> AsyncIterator[None]:
    """The databases, for as long as the connection that made them holds the lock of this run."""
    connection = await place.maintenance_database.connect()
    try:
        await _drop_left_over(connection)
        await connection.execute(f"SELECT pg_advisory_lock({LOCK_CLASS}, {token})")
        try:
            for name in names:
                await _create(connection, place, name)
            yield
        finally:
            await shielded(_drop(place, connection, names))
            if place.is_local and not connection.is_closed():
                await shielded(_drop_left_over(connection))
    finally:
        connection.terminate()


async def _create(connection: asyncpg.Connection, place: ScratchHost, name: str) -> None:
    options = ["TEMPLATE template0", f"CONNECTION LIMIT {_CONNECTIONS}"]
    if place.copy_locale:
        options += await locale_options(connection)
    try:
        await connection.execute(f"CREATE DATABASE {quote(name)} {' '.join(options)}")
    except Exception as error:
        raise _not_created(place, error) from error
    await connection.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {quote(name)} FROM PUBLIC")
    await connection.execute(f"COMMENT ON DATABASE {quote(name)} IS {literal(COMMENT)}")


def _not_created(place: ScratchHost, error: Exception) -> MigrateError:
    fault = statement_error(
        error, place.maintenance_database.name, "create a scratch database"
    ) or Unreachable(
        f"{place.maintenance_database.name}: no scratch database can be created",
        database=place.maintenance_database.name,
        detail=server_message(error),
    )
    fault.state = "nothing was changed"
    fault.hint = "name another server for scratch databases: --scratch-url URL"
    if isinstance(fault, MissingPrivilege):
        fault.hint = f"ALTER ROLE {quote(place.maintenance_database.address.user)} CREATEDB; or {fault.hint}"
    return fault


async def _drop_left_over(connection: asyncpg.Connection) -> None:
    """Drop the databases, and then the roles, of runs that have ended without doing so."""
    rows = await connection.fetch(_LEFT_OVER, PREFIX, COMMENT, LOCK_CLASS)
    found = ((row, _NAME.match(row["name"])) for row in rows)
    names = [row["name"] for row, match in found if match and str(int(match["token"], 16)) not in row["held"]]
    await _try_each(connection, _dropping(names))
    if len(names) == len(rows):
        roles = await connection.fetch(_OUR_ROLES, _ROLE_COMMENT)
        await _try_each(connection, [f"DROP ROLE IF EXISTS {quote(row['rolname'])}" for row in roles])


async def _drop(place: ScratchHost, connection: asyncpg.Connection, names: list[str]) -> None:
    """Drop the databases; where the connection is lost, over another one.

    A server that is gone keeps them until the next run, which finds them by their names.
    """
    import asyncpg

    with suppress(OSError, MigrateError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
        if not connection.is_closed():
            for statement in _dropping(names):
                await connection.execute(statement)
            return
        another = await place.maintenance_database.connect()
        try:
            await _try_each(another, _dropping(names))
        finally:
            another.terminate()


def _dropping(names: Iterable[str]) -> list[str]:
    return [f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)" for name in names]


async def _try_each(connection: asyncpg.Connection, statements: Iterable[str]) -> None:
    """Run what another run may be doing at the same time, or what something still depends on."""
    import asyncpg

    for statement in statements:
        with suppress(asyncpg.PostgresError):
            await connection.execute(statement)


def _missing_role(error: Exception) -> str | None:
    if sqlstate(error) != _UNDEFINED_OBJECT:
        return None
    match = _MISSING_ROLE.search(server_message(error))
    return match["name"] if match else None


async def _add_role(place: ScratchHost, name: str) -> None:
    connection = await place.maintenance_database.connect()
    try:
        # As one: the comment, which lets the role be dropped again, never goes to one that was there before.
        created = f"CREATE ROLE {quote(name)} NOLOGIN; COMMENT ON ROLE {quote(name)} IS "
        await _try_each(connection, [created + literal(_ROLE_COMMENT)])
    finally:
        connection.terminate()
