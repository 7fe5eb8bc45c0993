"""Build expected catalogs in scratch databases, from revisions or models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.core.errors import MigrateError, SettingsError
from circle_migrate.core.events import ignore_event
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.search_path import CONFIGURED
from circle_migrate.postgres.server_errors import server_message, sqlstate
from circle_migrate.revision_graph.plan import Direction, Plan, plan_exactly

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

_UNDEFINED = ("42704", "42883", "3F000")
"""SQLSTATEs for an undefined object (as a type), an undefined function and an undefined schema."""


async def build_from_revisions(
    alone: Deployment, servers: ScratchServers, revisions: tuple[str, ...], major: int
) -> Snapshot:
    """Return the catalog of the selected database at these revisions. Raises the errors of the executor."""
    async with at_revisions(alone, servers, revisions, major) as database:
        return await read_live_catalog(database)


@asynccontextmanager
async def at_revisions(
    alone: Deployment, servers: ScratchServers, revisions: tuple[str, ...], major: int
) -> AsyncIterator[Database]:
    """Open a scratch copy of the selected database at these revisions.

    Revisions of other databases that they depend on are applied too. Raises the errors of the executor.
    """
    (name,) = alone.selected
    needed = dict.fromkeys([name, *alone.reachable_databases(Direction.UP)])
    async with servers.databases(needed, major=major) as scratch:
        forest = scratch.deployment.forest
        await upgrade_scratch(scratch, forest.with_dependencies(f"{name}@{key}" for key in revisions))
        yield scratch.deployment.databases[name]


async def upgrade_scratch(scratch: Scratch, revisions: Collection[str]) -> None:
    """Apply exactly these revisions (`database@id`) to scratch databases. Raises the executor's errors."""
    from circle_migrate.migrate.executor import RunOptions, execute

    deployment = scratch.deployment

    def planner(current: Current) -> Plan:
        return plan_exactly(deployment.forest, current, revisions, deployment.grouping)

    options = RunOptions("upgrade", allow_edited=True)
    run = partial(execute, deployment, tuple(scratch.majors), planner, ignore_event, options)
    await scratch.run_adding_missing_roles(run)


async def build_from_models(
    alone: Deployment,
    servers: ScratchServers,
    models: tuple[MetaData, ...],
    at_heads: Callable[[int], Awaitable[Snapshot]],
    major: int,
) -> Snapshot:
    """Return the catalog of the selected database with its models created.

    Models do not define the types and functions that they use. If one is missing, the extensions, schemas and
    functions of the revisions (`at_heads`) are created first. Raises `SettingsError` if the models cannot be
    created then either.
    """
    (name,) = alone.selected
    async with servers.databases([name], major=major) as scratch:
        database = scratch.deployment.databases[name]
        create = partial(scratch.run_adding_missing_roles, partial(_create, database, models))
        try:
            try:
                await create()
            except Exception as error:
                if sqlstate(error) not in _UNDEFINED:
                    raise
                await _create_requirements(database, await at_heads(major))
                await create()
        except MigrateError:
            raise
        except Exception as error:
            raise SettingsError(
                f"the models of {name} cannot be created in an empty database",
                database=name,
                detail=server_message(error),
                hint="Let the revisions create the objects that the models use.",
            ) from error
        return await read_live_catalog(database)


def models_source(database: Database, models: tuple[MetaData, ...]) -> str | None:
    """Return a digest of the DDL of the models; None if it is not known before it runs."""
    from sqlalchemy import create_mock_engine

    statements: list[str] = []

    def record(statement: object, *_: object, **__: object) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))  # type: ignore[attr-defined]

    engine = create_mock_engine("postgresql+asyncpg://", record)
    try:
        for metadata in models:
            metadata.create_all(engine, checkfirst=False)
    except Exception:  # noqa: BLE001 - event listeners of the models may use the mock connection
        return None
    # Extensions and schemas may come from the revisions.
    files = sorted((revision.id, revision.checksum) for revision in database.graph.revisions.values())
    # The indexes of a table are created in no fixed order.
    text = json.dumps([database.name, database.settings.effective_path, sorted(statements), files])
    return hashlib.sha256(text.encode()).hexdigest()


async def _create(database: Database, models: tuple[MetaData, ...]) -> None:
    def create_all(connection: Connection) -> None:
        from sqlalchemy.schema import CreateSchema

        schemas = {table.schema for metadata in models for table in metadata.tables.values()}
        schemas |= {*(metadata.schema for metadata in models), *database.settings.own_path_schemas}
        for schema in sorted(filter(None, schemas)):
            connection.execute(CreateSchema(schema, if_not_exists=True))
        for metadata in models:
            metadata.create_all(connection)

    async with database.working("circle-migrate models", {}) as connection:
        await connection.run_sync(create_all)
        await connection.commit()


async def _create_requirements(database: Database, snapshot: Snapshot) -> None:
    """Create the schemas, extensions and functions of the revisions."""
    import asyncpg

    connection = await database.connect()
    try:
        await connection.execute(CONFIGURED)
        for key, _ in snapshot.of_kind("schema"):
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {key.identity}")
        for key, fields in snapshot.of_kind("extension"):
            schema = f" SCHEMA {fields['schema']}" if fields.get("schema") else ""
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {key.identity}{schema} CASCADE")
        await connection.execute("SET check_function_bodies = off")
        for _, fields in snapshot.of_kind("function"):
            # A function that needs a table or a type cannot be part of a table's definition.
            with suppress(asyncpg.PostgresError):
                await connection.execute(fields["definition"] or "")
    finally:
        connection.terminate()
