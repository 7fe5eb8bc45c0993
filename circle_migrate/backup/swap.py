"""Copies beside live databases, and the moment in which they take their places.

A copy is complete and looked at before anything happens to the database it is to replace. Then two names
change in one transaction, which waits until nobody is connected and keeps newcomers waiting until it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, MissingPrivilege, Refused, RestoreFailed
from circle_migrate.postgres.create_database import maintenance
from circle_migrate.postgres.create_like import create_like
from circle_migrate.postgres.database import APPLICATION_NAME, Database
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.server_errors import server_message, sqlstate, statement_error

if TYPE_CHECKING:
    import asyncpg

_OBJECT_IN_USE = "55006"
_LONGEST_NAME = 63
"""Bytes of a name."""

UNTOUCHED = "nothing was changed"

_SESSIONS = """
SELECT format('pid %s (%s, role %s)', pid, coalesce(NULLIF(application_name, ''), 'no name'), usename) AS who
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
    """A new database beside a live one; `kept` is the name that the live one will be kept under."""

    database: Database
    name: str
    live: str
    kept: str

    @property
    def connection_target(self) -> Database:
        """The copy as a database of ours."""
        settings = self.database.settings
        return Database(settings._replace(url=settings.address.with_database(self.name)))


async def create(database: Database, token: str) -> StagedDatabase:
    """Create an empty copy of a database, with its encoding, locale, owner, settings and privileges.

    Raises `MissingPrivilege` with what would help, `RestoreFailed`, and the errors of connecting.
    """
    live = database.address.database
    copy = StagedDatabase(database, _name(live, "restore", token), live, _name(live, "replaced", token))
    connection = await maintenance(database)
    try:
        await create_like(connection, live, copy.name)
    except Exception as error:
        await _drop(connection, copy.name)
        fault = statement_error(error, database.name, f"create a database like {live!r}") or RestoreFailed(
            f"{database.name}: no database can be created beside {live!r}",
            database=database.name,
            detail=server_message(error),
        )
        if isinstance(fault, MissingPrivilege):
            fault.hint = (
                f"ALTER ROLE {quote(database.address.user)} CREATEDB; "
                "or let an administrator create an empty database, and restore into that"
            )
        raise fault from error
    finally:
        connection.terminate()
    return copy


async def drop(copies: Sequence[StagedDatabase]) -> tuple[str, ...]:
    """Drop copies that will not be used; the names of those that could not be dropped."""
    left = []
    for copy in copies:
        try:
            connection = await maintenance(copy.database)
        except MigrateError:
            left.append(copy.name)
            continue
        try:
            if not await _drop(connection, copy.name):
                left.append(copy.name)
        finally:
            connection.terminate()
    return tuple(left)


async def sessions(database: Database) -> tuple[str, ...]:
    """Who is connected to a database; those who look with this tool are gone by themselves."""
    connection = await database.connect()
    try:
        rows = await connection.fetch(_SESSIONS, database.address.database, APPLICATION_NAME)
    finally:
        connection.terminate()
    return tuple(row["who"] for row in rows)


def database_in_use_error(name: str, who: Sequence[str] | str) -> Refused:
    """The error where somebody is connected to a database that is to be replaced."""
    return Refused(
        f"{name}: a database can be replaced only while nobody is connected to it",
        database=name,
        detail=who if isinstance(who, str) else "; ".join(who),
        state=UNTOUCHED,
        hint="stop what uses it, or end these sessions when it is replaced: --disconnect",
    )


async def swap(copies: Sequence[StagedDatabase], *, disconnect: bool) -> None:
    """Give every copy the name of its live database, and that one the name it is kept under.

    With `disconnect` sessions on the live databases are ended; else one of them stops the swap (`Refused`).
    Each database's two names change in one transaction; the transactions are committed one right after the
    other when all have succeeded. Raises `RestoreFailed` where only some could be committed.
    """
    async with AsyncExitStack() as stack:
        opened = []
        for copy in copies:
            connection = await maintenance(copy.database)
            stack.callback(connection.terminate)
            await connection.execute("BEGIN")
            await _rename(copy, connection, disconnect=disconnect)
            opened.append((copy, connection))
        done: list[str] = []
        for copy, connection in opened:
            try:
                await connection.execute("COMMIT")
            except Exception as error:
                raise _half_swapped(copy, done, error) from error
            done.append(copy.database.name)


async def _rename(copy: StagedDatabase, connection: asyncpg.Connection, *, disconnect: bool) -> None:
    renaming = f"ALTER DATABASE {quote(copy.live)} RENAME TO {quote(copy.kept)}"
    ending = asyncio.create_task(_disconnect(copy)) if disconnect else None
    try:
        await connection.execute(renaming)
        await connection.execute(f"ALTER DATABASE {quote(copy.name)} RENAME TO {quote(copy.live)}")
    except Exception as error:
        name = copy.database.name
        if sqlstate(error) == _OBJECT_IN_USE:
            raise database_in_use_error(name, server_message(error)) from error
        raise (
            statement_error(error, name, f"rename {copy.live!r}")
            or RestoreFailed(
                f"{name}: {copy.live!r} cannot be replaced", database=name, detail=server_message(error)
            )
        ) from error
    finally:
        if ending is not None:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)


async def _disconnect(copy: StagedDatabase) -> None:
    """End the sessions of the live database, for as long as its renaming waits for them."""
    connection = await maintenance(copy.database)
    try:
        while True:
            await connection.fetch(_DISCONNECT, copy.live)
            await asyncio.sleep(_DISCONNECT_PAUSE)
    finally:
        connection.terminate()


def _half_swapped(copy: StagedDatabase, done: Sequence[str], error: Exception) -> RestoreFailed:
    return RestoreFailed(
        f"{copy.database.name}: {copy.live!r} was not replaced",
        database=copy.database.name,
        detail=server_message(error),
        state=f"replaced: {', '.join(done) or 'none'}; for {copy.database.name} see which databases there "
        f"are: {copy.kept!r} is there only if it was replaced after all",
        hint=f"the restored copy is {copy.name!r}; run the same command again with -d {copy.database.name}",
    )


async def _drop(connection: asyncpg.Connection, name: str) -> bool:
    with suppress(Exception):
        await connection.execute(f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)")
        return True
    return False


def _name(live: str, what: str, token: str) -> str:
    """A name that says whose it is, within what PostgreSQL keeps of a name."""
    ending = f"_{what}_{token}"
    beginning = live.encode()[: _LONGEST_NAME - len(ending)].decode(errors="ignore")
    return beginning + ending
