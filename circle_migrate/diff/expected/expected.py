"""Obtain the expected catalog of a database: at given revisions, or of its models.

The first of these sources that has it is used:

    shipped     a snapshot beside the revision files (`shipped`)
    cached      a snapshot created before from the same source, on this machine
    scratch     the revisions applied, or the models created, in a scratch database (`build`)

Each PostgreSQL major version prints definitions in its own way. If the requested version is not available,
the nearest one is used, with a note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from circle_migrate import __version__
from circle_migrate.core.cache import CacheFile, cache_file
from circle_migrate.core.errors import UsageError
from circle_migrate.diff.expected.shipped import read_shipped, shipped_majors, source_of
from circle_migrate.diff.expected.snapshot_file import FORMAT, SnapshotFile, decode, encode
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.scratch.providers import nearest, no_server_error


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
) -> Expected:
    """Return the catalog of the database `name` at these current revisions, or with None of its models.

    `servers` shares scratch servers between calls. Raises `SettingsError` if a scratch database is needed and
    no server is available, or the models cannot be loaded or created; `UsageError` for unknown revisions; and
    what the revisions raise.
    """
    alone = Deployment(deployment.settings, name)
    async with AsyncExitStack() as stack:
        if servers is None:
            servers = await stack.enter_async_context(ScratchServers(alone))
        if revisions is None:
            state = _state_of_models(alone, servers)
        else:
            state = _state_at(alone, servers, revisions)
        return await _obtain(state, servers, major)


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
    build: Callable[[int], Awaitable[Snapshot]]


def _state_at(alone: Deployment, servers: ScratchServers, names: tuple[str, ...]) -> _State:
    from circle_migrate.diff.expected.build import build_from_revisions

    database = alone.databases[alone.selected[0]]
    graph = database.graph
    revisions = graph.sorted(graph.find(name) for name in names)
    # A change of a helper module does not change the revision files.
    uses_helpers = any(graph[key].uses_helpers for key in graph.ancestors(revisions))
    return _State(
        database,
        f"revisions@{','.join(revisions) or 'base'}",
        revisions,
        None if uses_helpers else source_of(database, revisions),
        partial(build_from_revisions, alone, servers, revisions),
    )


def _state_of_models(alone: Deployment, servers: ScratchServers) -> _State:
    from circle_migrate.config.load_objects import load_models
    from circle_migrate.diff.expected.build import build_from_models, models_source

    database = alone.databases[alone.selected[0]]
    models = load_models(database.settings)

    async def at_heads(major: int) -> Snapshot:
        state = _state_at(alone, servers, database.graph.effective_heads)
        return (await _obtain(state, servers, major)).snapshot

    build = partial(build_from_models, alone, servers, models, at_heads)
    return _State(database, "models", None, models_source(database, models), build)


async def _obtain(state: _State, servers: ScratchServers, major: int) -> Expected:
    problems: list[str] = []
    stored = _read_stored(state, major, problems)
    if stored is not None:
        return Expected(stored)
    name = state.database.name
    possible = await servers.majors(name, major)
    if major in possible:
        return Expected(await _build(state, major))
    shipped = () if state.revisions is None else shipped_majors(state.database, state.revisions)
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
            return replace(read_shipped(state.database, state.revisions, major), origin=state.origin)
    except UsageError as error:
        problems.append(error.message)
    file = _cache(state, major)
    content = file.read() if file else None
    with suppress(UsageError):
        stored = decode(content, "the cache") if content is not None else None
        return stored.snapshot if stored and stored.source == state.source else None
    return None


async def _build(state: _State, major: int) -> Snapshot:
    snapshot = replace(await state.build(major), origin=state.origin, revisions=state.revisions)
    file = _cache(state, major)
    if file is not None:
        file.write(encode(SnapshotFile(snapshot, state.source)))
    return snapshot


def _cache(state: _State, major: int) -> CacheFile | None:
    if state.source is None:
        return None
    reader = [__version__, FORMAT, _reader_digest()]
    return cache_file(
        json.dumps(["snapshot", *reader, state.database.name, state.origin, state.source, major])
    )


@cache
def _reader_digest() -> str:
    """Return a digest of the code and queries that read catalogs, which decide the content of a snapshot."""
    folder = Path(__file__).parents[2] / "postgres" / "catalog"
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".py", ".sql"})
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
