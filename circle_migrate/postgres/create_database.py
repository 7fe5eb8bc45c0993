"""Creation of missing databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.core.errors import MissingDatabase, MissingPrivilege
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.identifier import quote
from circle_migrate.postgres.search_path import PINNED
from circle_migrate.postgres.server_errors import connecting, server_message, sqlstate

if TYPE_CHECKING:
    import asyncpg

_DUPLICATE_DATABASE = ("42P04", "23505")


async def create_missing(deployment: Deployment) -> tuple[str, ...]:
    """Create missing databases; return their names. Raises `MissingPrivilege`, the errors of connecting."""
    states = await deployment.states_or_errors()
    missing = [name for name, state in states.items() if isinstance(state, MissingDatabase)]
    for state in states.values():
        if isinstance(state, Exception) and not isinstance(state, MissingDatabase):
            raise state
    return tuple([name for name in missing if await _create(deployment.databases[name])])


async def connect_to_maintenance_database(database: Database) -> asyncpg.Connection:
    """Connect to a maintenance database of the database's server. Raises the errors of connecting."""
    try:
        return await _connect(database, "postgres")
    except MissingDatabase:
        return await _connect(database, "template1")


async def _connect(database: Database, maintenance_database: str) -> asyncpg.Connection:
    import asyncpg

    address = database.address.with_database(maintenance_database)
    with connecting(database.name, address):
        connection = await asyncpg.connect(**address.connect_kwargs())
        await connection.execute(PINNED)
    return connection


async def _create(database: Database) -> bool:
    """Create one database; return False if another session created it meanwhile."""
    import asyncpg

    connection = await connect_to_maintenance_database(database)
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
            hint=f'ALTER ROLE "{database.address.user}" CREATEDB; or ask an administrator to create it',
        ) from error
    finally:
        connection.terminate()
    return True
