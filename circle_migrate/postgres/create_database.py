"""Missing databases, made on the server the URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.errors import MissingDatabase, MissingPrivilege
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.server_errors import connecting, server_message, sqlstate

if TYPE_CHECKING:
    import asyncpg

_MAINTENANCE = ("postgres", "template1")
_DUPLICATE_DATABASE = ("42P04", "23505")


async def create_missing(deployment: Deployment) -> tuple[str, ...]:
    """Create the selected databases that do not exist and return their names.

    Raises `MissingPrivilege` with the GRANT that would help, and the errors of connecting.
    """
    answers = await deployment.states_or_errors()
    missing = [name for name, answer in answers.items() if isinstance(answer, MissingDatabase)]
    for answer in answers.values():
        if isinstance(answer, Exception) and not isinstance(answer, MissingDatabase):
            raise answer
    return tuple([name for name in missing if await _create(deployment.databases[name])])


async def maintenance(database: Database) -> asyncpg.Connection:
    """A connection to the database's server, by way of a database that every server has.

    Raises the errors of connecting.
    """
    import asyncpg

    connection = None
    for maintenance in _MAINTENANCE:
        address = database.address.with_database(maintenance)
        try:
            with connecting(database.name, address):
                connection = await asyncpg.connect(**address.connect_kwargs())
            break
        except MissingDatabase:
            if maintenance == _MAINTENANCE[-1]:
                raise
    assert connection is not None  # noqa: S101 - the loop ends with a connection or an error
    return connection


async def _create(database: Database) -> bool:
    """Create one database; False where somebody else has made it meanwhile."""
    import asyncpg

    connection = await maintenance(database)
    name = database.address.database
    try:
        await connection.execute(f"CREATE DATABASE {quote(name)}")
    except asyncpg.PostgresError as error:
        if sqlstate(error) in _DUPLICATE_DATABASE:
            return False
        raise MissingPrivilege(
            f"{database.name}: the database {name!r} cannot be created",
            database=database.name,
            detail=server_message(error),
            hint=f'ALTER ROLE "{database.address.user}" CREATEDB; or let an administrator create it',
        ) from error
    finally:
        connection.terminate()
    return True
