"""The roads to a server for scratch databases, in the order in which they are preferred."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from circle_migrate.config.url.address import Address
from circle_migrate.config.url.parse import parse
from circle_migrate.core.errors import SettingsError
from circle_migrate.core.shield import in_thread
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.scratch.databases import ScratchHost
from circle_migrate.revision_graph.plan import Direction

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment
    from circle_migrate.postgres.scratch.container import Container
    from circle_migrate.postgres.scratch.temporary_server import TemporaryServer

ScratchHosts = Mapping[str, ScratchHost]


@dataclass(frozen=True, slots=True)
class ServerProvider:
    """A way to scratch databases: the major version of each one's server, and how to get there.

    `start` brings up what has to be started; its places hold until it is left.
    """

    majors: Mapping[str, int]
    start: Callable[[], AbstractAsyncContextManager[ScratchHosts]]


async def available_providers(deployment: Deployment) -> tuple[ServerProvider, ...]:
    """All roads to servers that are there or at hand; raises the errors of connecting to named ones."""
    return (*await _given(deployment), *_embedded(deployment), *await _target(deployment))


async def container_provider(deployment: Deployment, major: int) -> ServerProvider | str:
    """The road to a server of this version in a container, or why there is none; pulls its image."""
    from circle_migrate.postgres.scratch.container import Container, obtain

    refusal = await in_thread(obtain, major)
    if refusal is not None:
        return refusal
    start = partial(_thrown_away, deployment, partial(Container.start, major))
    return ServerProvider(dict.fromkeys(deployment.databases, major), start)


def no_server(consequence: str = "", detail: str | None = None) -> SettingsError:
    """The error for having no road at all, with the ways to get one."""
    return SettingsError(
        f"{consequence}there is no server for scratch databases",
        detail=detail,
        state="nothing was touched",
        hint="pip install 'circle-migrate[embedded]', for a private one;\n"
        "or pip install 'circle-migrate[container]', for one in a container, where a Docker engine answers;\n"
        "or name one on which the role may create databases: --scratch-url URL, or in the environment "
        "CIRCLE_MIGRATE_SCRATCH_URL;\n"
        "or allow them beside the live databases, for a role with CREATEDB: --scratch-on-target",
    )


async def _given(deployment: Deployment) -> list[ServerProvider]:
    address = deployment.settings.scratch_url
    if address is None:
        return []
    keeper = _keeper(deployment, address)
    major = await _major(keeper)
    place = ScratchHost(keeper)
    return [ServerProvider(dict.fromkeys(deployment.databases, major), _there(deployment, place))]


async def _target(deployment: Deployment) -> list[ServerProvider]:
    if not deployment.settings.scratch_on_target:
        return []
    databases = {name: deployment.databases[name] for name in deployment.reachable_databases(Direction.UP)}
    places = {name: ScratchHost(database, copy_locale=True) for name, database in databases.items()}
    majors = {name: await _major(database) for name, database in databases.items()}
    return [ServerProvider(majors, partial(_nothing_to_start, places))]


def _embedded(deployment: Deployment) -> list[ServerProvider]:
    from circle_migrate.postgres.embedded import binaries
    from circle_migrate.postgres.embedded.deployment import server
    from circle_migrate.postgres.scratch.temporary_server import TemporaryServer

    try:
        known = binaries.embedded()
    except SettingsError:
        return []
    roads = []
    status = server(deployment.settings).status()
    if status.running and status.major is not None:
        url = parse(status.url("postgres"), source="the embedded server")
        place = ScratchHost(_keeper(deployment, url), is_local=True)
        majors = dict.fromkeys(deployment.databases, status.major)
        roads.append(ServerProvider(majors, _there(deployment, place)))
    for major in sorted(known, reverse=True):
        majors = dict.fromkeys(deployment.databases, major)
        start = partial(TemporaryServer.start, known[major])
        roads.append(ServerProvider(majors, partial(_thrown_away, deployment, start)))
    return roads


def _there(
    deployment: Deployment, place: ScratchHost
) -> Callable[[], AbstractAsyncContextManager[ScratchHosts]]:
    return partial(_nothing_to_start, dict.fromkeys(deployment.databases, place))


@asynccontextmanager
async def _nothing_to_start(places: ScratchHosts) -> AsyncIterator[ScratchHosts]:
    yield places


@asynccontextmanager
async def _thrown_away(
    deployment: Deployment, start: Callable[[], TemporaryServer | Container]
) -> AsyncIterator[ScratchHosts]:
    started: list[TemporaryServer | Container] = []
    try:
        # In the list before a cancellation that arrives meanwhile is raised here.
        await in_thread(lambda: started.append(start()))
        url = parse(started[0].url, source="a throw-away server")
        yield dict.fromkeys(deployment.databases, ScratchHost(_keeper(deployment, url), is_local=True))
    finally:
        for each in started:
            await in_thread(each.remove)


def _keeper(deployment: Deployment, address: Address) -> Database:
    """The maintenance database of a server, to be connected to as one of the deployment's databases is."""
    return Database(
        deployment.settings.databases[0]._replace(name="scratch", url=address, search_path="public")
    )


async def _major(database: Database) -> int:
    connection = await database.connect()
    try:
        return int(connection.get_server_version().major)
    finally:
        connection.terminate()


def nearest(majors: Iterable[int], wanted: int) -> int | None:
    """The closest to the wanted major version, of two the newer, which understands what the older does."""
    return min(majors, key=lambda major: (abs(major - wanted), -major), default=None)
