"""What a database should be: at given revisions, or by its models.

The answer comes from the first of these that has it:

    shipped     a snapshot beside the tree (`shipped`)
    cached      one that was made before, from the same texts, on this machine
    scratch     the revisions run, or the models created, in a new database (`scratch`)

Texts of a catalogue are printed by the server, so each answer is one PostgreSQL major version's. Where the
wanted one cannot be had, the nearest is taken, and said.
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
from circle_migrate.diff.expected.snapshot_file import FORMAT, Stored, decoded, encoded
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.pool import ScratchServers
from circle_migrate.postgres.scratch.providers import nearest, no_server


@dataclass(frozen=True, slots=True)
class Expected:
    """A snapshot of what should be; `note` says what is not compared where it is of another version."""

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
    """What the database called `name` should be at these current revisions, or with None by its models.

    `servers` lets several calls share what they start. Raises `SettingsError` where a scratch database is
    needed and there is no server for it, or the models cannot be loaded or created; `UsageError` for
    revisions that are not in the tree; and what the revisions raise when they run.
    """
    alone = Deployment(deployment.settings, name)
    async with AsyncExitStack() as stack:
        if servers is None:
            servers = await stack.enter_async_context(ScratchServers(alone))
        state = _by_models(alone, servers) if revisions is None else _at(alone, servers, revisions)
        return await _obtain(state, servers, major)


@dataclass(frozen=True, slots=True)
class _State:
    """One expected state; `revisions` is None for models.

    `source` is a digest of what it is made from, None where that cannot be told and so nothing can be kept.
    `make` makes it in a scratch database of a major version.
    """

    database: Database
    origin: str
    revisions: tuple[str, ...] | None
    source: str | None
    make: Callable[[int], Awaitable[Snapshot]]


def _at(alone: Deployment, servers: ScratchServers, names: tuple[str, ...]) -> _State:
    from circle_migrate.diff.expected.build import build_from_revisions

    database = alone.databases[alone.selected[0]]
    graph = database.graph
    revisions = graph.sorted(graph.find(name) for name in names)
    # What helpers do is not in the revision files, so that nothing says when it has changed.
    unsure = any(graph[key].uses_helpers for key in graph.ancestors(revisions))
    return _State(
        database,
        f"revisions@{','.join(revisions) or 'base'}",
        revisions,
        None if unsure else source_of(database, revisions),
        partial(build_from_revisions, alone, servers, revisions),
    )


def _by_models(alone: Deployment, servers: ScratchServers) -> _State:
    from circle_migrate.config.metadata import load_models
    from circle_migrate.diff.expected.build import build_from_models, models_source

    database = alone.databases[alone.selected[0]]
    metadata = load_models(database.settings)

    async def revised(major: int) -> Snapshot:
        state = _at(alone, servers, database.graph.effective_heads)
        return (await _obtain(state, servers, major)).snapshot

    make = partial(build_from_models, alone, servers, metadata, revised)
    return _State(database, "models", None, models_source(database, metadata), make)


async def _obtain(state: _State, servers: ScratchServers, major: int) -> Expected:
    known = _known(state, major)
    if known is not None:
        return Expected(known)
    name = state.database.name
    possible = await servers.majors(name, major)
    if major in possible:
        return Expected(await _made(state, major))
    shipped = () if state.revisions is None else shipped_majors(state.database, state.revisions)
    stored = {old: snapshot for old in shipped if (snapshot := _known(state, old)) is not None}
    near = nearest((*stored, *possible), major)
    if near is None:
        raise no_server(f"{name}: the state of {state.origin} cannot be known: ", _doubt(state, major))
    note = (
        f"what PostgreSQL {major} does otherwise than {near}: the nearest version was taken for "
        f"{state.origin}, as there is neither a snapshot nor a scratch server of version {major}"
    )
    return Expected(stored.get(near) or _known(state, near) or await _made(state, near), note)


def _known(state: _State, major: int) -> Snapshot | None:
    """The shipped snapshot or the one in the cache."""
    if state.revisions is not None:
        with suppress(UsageError):
            return replace(read_shipped(state.database, state.revisions, major), origin=state.origin)
    file = _cache(state, major)
    content = file.read() if file else None
    if content is not None:
        with suppress(UsageError):
            stored = decoded(content, "the cache")
            return stored.snapshot if stored.source == state.source else None
    return None


def _doubt(state: _State, major: int) -> str | None:
    """Why the shipped snapshot is not believed."""
    if state.revisions is None:
        return None
    try:
        read_shipped(state.database, state.revisions, major)
    except UsageError as error:
        return error.message
    return None


async def _made(state: _State, major: int) -> Snapshot:
    made = await state.make(major)
    snapshot = replace(made, origin=state.origin, revisions=state.revisions)
    file = _cache(state, major)
    if file is not None:
        file.write(encoded(Stored(snapshot, state.source)))
    return snapshot


def _cache(state: _State, major: int) -> CacheFile | None:
    if state.source is None:
        return None
    maker = [__version__, FORMAT, _introspection()]
    return cache_file(
        json.dumps(["snapshot", *maker, state.database.name, state.origin, state.source, major])
    )


@cache
def _introspection() -> str:
    """A digest of the code and queries that take snapshots: what an older one took is not the same."""
    folder = Path(__file__).parents[2] / "postgres" / "catalog"
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".py", ".sql"})
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
