"""Create new databases beside live ones, and swap their names.

A copy is complete and verified before the live database changes. Both names change in one transaction, which
waits until nobody is connected and blocks new connections until it ends.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import asyncpg

from circle_migrate.core.errors import MigrateError, MissingPrivilege, Refused, RestoreFailed
from circle_migrate.core.shield import shield
from circle_migrate.postgres.create_database import create_like, maintenance_connection
from circle_migrate.postgres.database import APPLICATION_NAME, Database
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.server_errors import named_error, server_message, sqlstate

_OBJECT_IN_USE = "55006"
_MAX_NAME_BYTES = 63

UNCHANGED = "nothing was changed"

_SESSIONS = """
SELECT format('pid %s (%s, role %s)',
              pid, coalesce(NULLIF(application_name, ''), 'no name'), usename) AS session
FROM pg_catalog.pg_stat_activity
WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND application_name <> $2 ORDER BY pid
"""
_DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE datname = $1 AND backend_type = 'client backend'
"""
_DISCONNECT_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class StagedDatabase:
    """A new database beside a live one, which is renamed to `kept_name` by the swap."""

    database: Database
    name: str
    live_name: str
    kept_name: str

    @property
    def connection_target(self) -> Database:
        """The copy as a configured database."""
        settings = self.database.settings
        return Database(settings.model_copy(update={"url": settings.address.with_database(self.name)}))


async def create(database: Database, token: str) -> StagedDatabase:
    """Create an empty copy of a database by `create_like`. Raises `MissingPrivilege`, `RestoreFailed`."""
    live = database.address.database
    copy = StagedDatabase(
        database, _new_name(live, "restore", token), live, _new_name(live, "replaced", token)
    )
    async with maintenance_connection(database) as connection:
        try:
            await shield(create_like(connection, live, copy.name))
        except BaseException as error:
            await _drop(connection, copy.name)
            if not isinstance(error, Exception):
                raise
            failure = named_error(error, database.name, f"create a database like {live!r}", RestoreFailed)
            if isinstance(failure, MissingPrivilege):
                failure.hint = (
                    f"ALTER ROLE {quote(database.address.user)} CREATEDB; "
                    "or restore into an empty database that an administrator creates"
                )
            raise failure from error
    return copy


async def drop(copies: Sequence[StagedDatabase]) -> tuple[str, ...]:
    """Drop the copies, and return the names of those that could not be dropped."""
    remaining = []
    for copy in copies:
        try:
            async with maintenance_connection(copy.database) as connection:
                dropped = await _drop(connection, copy.name)
        except MigrateError:
            dropped = False
        remaining += [] if dropped else [copy.name]
    return tuple(remaining)


async def sessions(database: Database) -> tuple[str, ...]:
    """Describe the sessions on a database, except short ones of this tool."""
    async with database.connected() as connection:
        rows = await connection.fetch(_SESSIONS, database.address.database, APPLICATION_NAME)
    return tuple(row["session"] for row in rows)


def database_in_use_error(name: str, detail: str) -> Refused:
    """Return the error for sessions on a database that is to be replaced."""
    return Refused(
        f"{name}: the database is in use and cannot be replaced",
        database=name,
        detail=detail,
        state=UNCHANGED,
        hint="stop the programs that use it, or end their sessions with --disconnect",
    )


async def swap(copies: Sequence[StagedDatabase], *, disconnect: bool) -> None:
    """Rename every live database to its kept name, and every copy to the name of its live database.

    `disconnect` ends the sessions on the live databases; otherwise a session raises `Refused`. Transactions
    commit one right after the other when all have succeeded; `RestoreFailed` if only some can be committed.
    """
    async with AsyncExitStack() as stack:
        renamed = []
        for copy in copies:
            connection = await stack.enter_async_context(maintenance_connection(copy.database))
            await connection.execute("BEGIN")
            await _rename(copy, connection, disconnect=disconnect)
            renamed.append((copy, connection))
        swapped: list[str] = []
        for copy, connection in renamed:
            try:
                await connection.execute("COMMIT")
            except Exception as error:
                raise _partial_swap_error(copy, swapped, error) from error
            swapped.append(copy.database.name)


async def _rename(copy: StagedDatabase, connection: asyncpg.Connection, *, disconnect: bool) -> None:
    disconnecting = asyncio.create_task(_disconnect(copy)) if disconnect else None
    try:
        await connection.execute(f"ALTER DATABASE {quote(copy.live_name)} RENAME TO {quote(copy.kept_name)}")
        await connection.execute(f"ALTER DATABASE {quote(copy.name)} RENAME TO {quote(copy.live_name)}")
    except Exception as error:
        name = copy.database.name
        if sqlstate(error) == _OBJECT_IN_USE:
            raise database_in_use_error(name, server_message(error)) from error
        raise named_error(error, name, f"rename the database {copy.live_name!r}", RestoreFailed) from error
    finally:
        if disconnecting is not None:
            disconnecting.cancel()
            await asyncio.gather(disconnecting, return_exceptions=True)


async def _disconnect(copy: StagedDatabase) -> None:
    """End the sessions on the live database again and again, until cancelled."""
    async with maintenance_connection(copy.database) as connection:
        while True:
            await connection.fetch(_DISCONNECT, copy.live_name)
            await asyncio.sleep(_DISCONNECT_PAUSE)


def _partial_swap_error(copy: StagedDatabase, swapped: Sequence[str], error: Exception) -> RestoreFailed:
    return RestoreFailed(
        f"{copy.database.name}: the database {copy.live_name!r} was not replaced",
        database=copy.database.name,
        detail=server_message(error),
        state=f"replaced: {', '.join(swapped) or 'none'}; {copy.database.name} was replaced only if "
        f"the database {copy.kept_name!r} exists",
        hint=f"if {copy.name!r} still exists, run the same command again with -d {copy.database.name}",
    )


async def _drop(connection: asyncpg.Connection, name: str) -> bool:
    with suppress(Exception):
        await connection.execute(f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)")
        return True
    return False


def _new_name(live: str, purpose: str, token: str) -> str:
    """Return a name derived from the live database's, within PostgreSQL's limit."""
    suffix = f"_{purpose}_{token}"
    return live.encode()[: _MAX_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix
