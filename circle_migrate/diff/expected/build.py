"""Expected states, made in scratch databases: revisions run or models created, and a snapshot taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, SettingsError
from circle_migrate.core.events import discard
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.server_errors import server_message, sqlstate
from circle_migrate.revision_graph.plan import Direction, Plan, plan_exactly

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

_NOT_THERE = ("42704", "42883", "3F000")
"""What an unknown type or operator class, function and schema have as SQLSTATE."""


async def build_from_revisions(
    alone: Deployment, servers: ScratchServers, revisions: tuple[str, ...], major: int
) -> Snapshot:
    """The one selected database after an upgrade from empty to these revisions.

    Raises the errors of the executor.
    """
    async with at_revisions(alone, servers, revisions, major) as database:
        return await read_live_catalog(database)


@asynccontextmanager
async def at_revisions(
    alone: Deployment, servers: ScratchServers, revisions: tuple[str, ...], major: int
) -> AsyncIterator[Database]:
    """A scratch database at these revisions of the one that is selected.

    Those of other databases which they require are run too. Raises the errors of the executor.
    """
    (name,) = alone.selected
    needed = dict.fromkeys([name, *alone.reachable_databases(Direction.UP)])
    async with servers.databases(needed, major=major) as made:
        forest = made.deployment.forest
        await upgrade_scratch(made, forest.with_dependencies(f"{name}@{key}" for key in revisions))
        yield made.deployment.databases[name]


async def upgrade_scratch(scratch: Scratch, revisions: Collection[str]) -> None:
    """Apply exactly these revisions, each `database@id`, to scratch databases.

    Raises the errors of the executor.
    """
    from circle_migrate.migrate.executor import RunOptions, execute

    deployment = scratch.deployment

    def planner(current: Current) -> Plan:
        return plan_exactly(deployment.forest, current, revisions, deployment.grouping)

    options = RunOptions("upgrade", allow_edited=True)
    await scratch.run_adding_missing_roles(
        lambda: execute(deployment, tuple(scratch.majors), planner, discard, options)
    )


async def build_from_models(
    alone: Deployment,
    servers: ScratchServers,
    metadata: MetaData,
    revised: Callable[[int], Awaitable[Snapshot]],
    major: int,
) -> Snapshot:
    """The one selected database with its models created.

    Models cannot say where the types and functions come from that they use: where one is missing, the
    extensions, schemas and functions of the revisions (`revised`) are created first. Raises `SettingsError`
    for models that cannot be created then either.
    """
    (name,) = alone.selected
    async with servers.databases([name], major=major) as made:
        database = made.deployment.databases[name]
        create = partial(_create, database, metadata)
        try:
            await made.run_adding_missing_roles(create)
        except Exception as error:
            if sqlstate(error) not in _NOT_THERE:
                raise _not_created(name, error) from error
            await _prepare(database, await revised(major))
            try:
                await made.run_adding_missing_roles(create)
            except Exception as again:
                raise _not_created(name, again) from again
        return await read_live_catalog(database)


def models_source(database: Database, metadata: MetaData) -> str | None:
    """A digest of the DDL of the models; None where only running it can tell what it is."""
    from sqlalchemy import create_mock_engine

    statements: list[str] = []

    def note(statement: object, *_: object, **__: object) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))  # type: ignore[attr-defined]

    engine = create_mock_engine("postgresql+asyncpg://", note)
    try:
        metadata.create_all(engine, checkfirst=False)
    except Exception:  # noqa: BLE001 - listeners of the models can do anything with a connection that is none
        return None
    # Extensions and schemas may come from the revisions.
    files = sorted((revision.id, revision.checksum) for revision in database.graph.revisions.values())
    # Indexes of one table come in no order.
    text = json.dumps([database.name, database.settings.search_path, sorted(statements), files])
    return hashlib.sha256(text.encode()).hexdigest()


async def _create(database: Database, metadata: MetaData) -> None:
    async with database.working("circle-migrate models", {}) as connection:
        await connection.run_sync(partial(_create_all, metadata))
        await connection.commit()


def _create_all(metadata: MetaData, connection: Connection) -> None:
    from sqlalchemy.schema import CreateSchema

    named = {table.schema for table in metadata.tables.values()} | {metadata.schema}
    for schema in sorted(filter(None, named)):
        connection.execute(CreateSchema(schema, if_not_exists=True))
    metadata.create_all(connection)


async def _prepare(database: Database, revised: Snapshot) -> None:
    """Create the schemas, extensions and functions that the revisions have."""
    import asyncpg

    connection = await database.connect()
    try:
        for key, _ in revised.of("schema"):
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {key.identity}")
        for key, fields in revised.of("extension"):
            place = f" SCHEMA {fields['schema']}" if fields.get("schema") else ""
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {key.identity}{place} CASCADE")
        await connection.execute("SET check_function_bodies = off")
        for _, fields in revised.of("function"):
            # Those that need a table or a type for themselves are no part of a table either.
            with suppress(asyncpg.PostgresError):
                await connection.execute(fields["definition"] or "")
    finally:
        connection.terminate()


def _not_created(name: str, error: Exception) -> MigrateError:
    if isinstance(error, MigrateError):
        return error
    return SettingsError(
        f"the models of {name} cannot be created in an empty database",
        database=name,
        detail=server_message(error),
        hint="let the revisions create what the models take for granted",
    )
