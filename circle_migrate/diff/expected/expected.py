"""Obtain the expected catalog of a database: at given revisions, or of its models.

The first of these sources that has it is used:

    shipped     a snapshot beside the revision files (`snapshot_file`)
    cached      a snapshot created before from the same source, on this machine
    scratch     the revisions applied, or the models created, in a scratch database

Each PostgreSQL major version prints definitions in its own way. If the requested version is not available,
the nearest one is used, with a note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from circle_migrate import __version__
from circle_migrate.core.cache import CacheFile, cache_file
from circle_migrate.core.errors import MigrateError, SettingsError, UsageError
from circle_migrate.core.events import ignore_event
from circle_migrate.diff.expected import snapshot_file as files
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Current, Deployment
from circle_migrate.postgres.scratch.databases import Scratch
from circle_migrate.postgres.scratch.live_settings import NO_SETTINGS, Settings
from circle_migrate.postgres.scratch.pool import ScratchServers, nearest, no_server_error
from circle_migrate.postgres.search_path import CONFIGURED
from circle_migrate.postgres.server_errors import scratch_server_lacks, server_message, sqlstate
from circle_migrate.revision_graph.plan import Direction, Plan, plan_exactly

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

_UNDEFINED = ("42704", "42883", "3F000")
"""SQLSTATEs for an undefined object (as a type), an undefined function and an undefined schema."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected snapshot; `note` describes the effect of another PostgreSQL version."""

    snapshot: Snapshot
    note: str | None = None


async def expected(
    deployment: Deployment,
    name: str,
    revisions: tuple[str, ...] | None,
    major: int,
    *,
    servers: ScratchServers | None = None,
    settings: Settings = NO_SETTINGS,
) -> Expected:
    """Return the catalog of the database `name` at these current revisions, or with None of its models.

    `servers` shares scratch servers between calls. Sessions of scratch databases get the `settings` of
    the live database, which decide what revisions mean; a shipped snapshot does without. Raises
    `SettingsError` if a scratch database is needed and no server is available, or the models cannot be loaded
    or created; `UsageError` for unknown revisions; and what the revisions raise.
    """
    deployment = Deployment(deployment.settings, name)
    async with AsyncExitStack() as stack:
        if servers is None:
            servers = await stack.enter_async_context(ScratchServers(deployment))
        return await _obtain(_resolve_state(deployment, servers, revisions, settings), servers, major)


@dataclass(frozen=True, slots=True)
class _State:
    """One expected state; `revisions` is None for models.

    `source` is a digest of its source; without one (None) it is not cached. `build` builds it in a scratch
    database of a major version.
    """

    database: Database
    origin: str
    revisions: tuple[str, ...] | None
    source: str | None
    settings: Settings
    build: Callable[[int], Awaitable[Snapshot]]


def _resolve_state(
    deployment: Deployment, servers: ScratchServers, names: tuple[str, ...] | None, settings: Settings
) -> _State:
    database = deployment.databases[deployment.selected[0]]
    if names is None:
        from circle_migrate.config.object_reference import load_models

        models = load_models(database.settings)
        build = partial(_build_from_models, deployment, servers, models, settings)
        return _State(database, "models", None, _models_source(database, models), settings, build)
    graph = database.graph
    revisions = graph.sorted(graph.find(name) for name in names)
    # A change of a helper module does not change the revision files.
    uses_helpers = any(
        graph[key].uses_helpers for key in graph.squashes.without_alternatives(graph.ancestors(revisions))
    )
    return _State(
        database,
        f"revisions@{','.join(revisions) or 'base'}",
        revisions,
        None if uses_helpers else files.source_of(database, revisions),
        settings,
        partial(build_from_revisions, deployment, servers, revisions, settings=settings),
    )


async def _obtain(state: _State, servers: ScratchServers, major: int) -> Expected:
    problems: list[str] = []
    stored = _read_stored(state, major, problems)
    if stored is not None:
        return Expected(stored)
    name = state.database.name
    possible = await servers.majors(name, major)
    if major in possible:
        return Expected(await _build(state, major))
    shipped = () if state.revisions is None else files.shipped_majors(state.database, state.revisions)
    others = {other: snapshot for other in shipped if (snapshot := _read_stored(state, other, problems))}
    near = nearest((*others, *possible), major)
    if near is None:
        subject = f"{name}: the catalog of {state.origin} is not available: "
        raise no_server_error(subject, problems[0] if problems else None)
    note = (
        f"differences between PostgreSQL {major} and {near}: {state.origin} is from version {near}, because "
        f"version {major} has neither a snapshot nor a scratch server"
    )
    snapshot = others.get(near) or _read_stored(state, near, problems) or await _build(state, near)
    return Expected(snapshot, note)


def _read_stored(state: _State, major: int, problems: list[str]) -> Snapshot | None:
    """Return the shipped snapshot or the cached one; note why the shipped one is not valid."""
    try:
        if state.revisions is not None:
            return replace(files.read_shipped(state.database, state.revisions, major), origin=state.origin)
    except UsageError as error:
        problems.append(error.message)
    file = _cache(state, major)
    content = file.read() if file else None
    with suppress(UsageError):
        stored = files.decode(content, "the cache") if content is not None else None
        return stored.snapshot if stored and stored.source == state.source else None
    return None


async def _build(state: _State, major: int) -> Snapshot:
    snapshot = replace(await state.build(major), origin=state.origin, revisions=state.revisions)
    file = _cache(state, major)
    if file is not None:
        file.write(files.encode(files.SnapshotFile(snapshot, state.source)))
    return snapshot


def _cache(state: _State, major: int) -> CacheFile | None:
    if state.source is None:
        return None
    reader = ["snapshot", __version__, files.FORMAT, _reader_digest()]
    return cache_file(
        json.dumps([*reader, state.database.name, state.origin, state.source, major, state.settings])
    )


@cache
def _reader_digest() -> str:
    """Return a digest of the code and queries that read catalogs, which decide the content of a snapshot."""
    folder = Path(__file__).parents[2] / "postgres" / "catalog"
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".py", ".sql"})
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


async def build_from_revisions(
    deployment: Deployment,
    servers: ScratchServers,
    revisions: tuple[str, ...],
    major: int,
    settings: Settings = NO_SETTINGS,
) -> Snapshot:
    """Return the catalog of the selected database at these revisions. Raises the errors of the executor."""
    async with at_revisions(deployment, servers, revisions, major, settings) as database:
        return await read_live_catalog(database)


@asynccontextmanager
async def at_revisions(
    deployment: Deployment,
    servers: ScratchServers,
    revisions: tuple[str, ...],
    major: int,
    settings: Settings = NO_SETTINGS,
) -> AsyncIterator[Database]:
    """Open a scratch copy of the selected database at these revisions.

    Revisions of other databases that they depend on are applied too. Raises the errors of the executor.
    """
    (name,) = deployment.selected
    needed = dict.fromkeys([name, *deployment.reachable_databases(Direction.UP)])
    async with servers.databases(needed, major=major, live_settings=settings) as scratch:
        graph = scratch.deployment.combined_graph
        await upgrade_scratch(scratch, graph.with_dependencies(f"{name}@{key}" for key in revisions))
        yield scratch.deployment.databases[name]


async def upgrade_scratch(scratch: Scratch, revisions: Collection[str]) -> None:
    """Apply exactly these revisions (`database@id`) to scratch databases. Raises the executor's errors."""
    from circle_migrate.migrate.executor import RunOptions, execute

    deployment = scratch.deployment

    def planner(current: Current) -> Plan:
        return plan_exactly(deployment.combined_graph, current, revisions, deployment.transaction_mode)

    options = RunOptions("upgrade", allow_edited=True)
    run = partial(execute, deployment, tuple(scratch.majors), planner, ignore_event, options)
    await scratch.run_adding_missing_roles(run)


async def _build_from_models(
    deployment: Deployment,
    servers: ScratchServers,
    models: tuple[MetaData, ...],
    settings: Settings,
    major: int,
) -> Snapshot:
    """Return the catalog of the selected database with its models created.

    Models do not define the types and functions that they use. If one is missing, the extensions, schemas and
    functions of the revisions are created first. Raises `SettingsError` if the models cannot be created then
    either.
    """
    (name,) = deployment.selected
    async with servers.databases([name], major=major, live_settings=settings) as scratch:
        database = scratch.deployment.databases[name]

        async def create(required: Snapshot | None = None) -> None:
            try:
                if required is not None:
                    await _create_requirements(database, required)
                await scratch.run_adding_missing_roles(partial(_create, database, models))
            except MigrateError:
                raise
            except Exception as error:
                detail = server_message(error)
                raise SettingsError(
                    f"the models of {name} cannot be created in an empty scratch database",
                    database=name,
                    detail=detail,
                    hint=scratch_server_lacks(detail)
                    or "let the revisions create the objects that the models use",
                ) from error

        try:
            await create()
        except MigrateError as error:
            if sqlstate(error) not in _UNDEFINED:
                raise
            revisions = deployment.databases[name].graph.effective_heads
            heads = _resolve_state(deployment, servers, revisions, settings)
            await create((await _obtain(heads, servers, major)).snapshot)
        return await read_live_catalog(database)


def _models_source(database: Database, models: tuple[MetaData, ...]) -> str | None:
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
    checksums = sorted((revision.id, revision.checksum) for revision in database.graph.revisions.values())
    # The indexes of a table are created in no fixed order.
    text = json.dumps([database.name, database.settings.effective_path, sorted(statements), checksums])
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

    async with database.connected() as connection:
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
