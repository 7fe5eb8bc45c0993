"""The servers for the scratch databases of one command, and their providers in order of preference."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from circle_migrate.config.url.address import Address
from circle_migrate.config.url.parse import parse
from circle_migrate.core.errors import SettingsError, Unreachable, UsageError
from circle_migrate.core.shield import in_thread
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.embedded import binaries
from circle_migrate.postgres.scratch.container import NEWEST, Container, pull_image
from circle_migrate.postgres.scratch.databases import Scratch, ScratchHost, create_databases
from circle_migrate.postgres.scratch.live_settings import NO_SETTINGS, Settings
from circle_migrate.postgres.scratch.temporary_server import TemporaryServer
from circle_migrate.revision_graph.plan import Direction

ScratchHosts = Mapping[str, ScratchHost]

_SCRATCH_URL = (
    "--scratch-url URL, or CIRCLE_MIGRATE_SCRATCH_URL in the environment, to a server on which the role may "
    "create databases"
)


@dataclass(frozen=True, slots=True)
class ServerProvider:
    """The servers' major versions by database, and their start; hosts are valid until the context ends."""

    majors: Mapping[str, int]
    start: Callable[[], AbstractAsyncContextManager[ScratchHosts]]


async def available_providers(deployment: Deployment) -> tuple[ServerProvider, ...]:
    """Return the providers except containers. Raises the errors of connecting to configured servers."""
    return (*await _from_url(deployment), *_embedded(deployment), *await _target(deployment))


async def container_provider(deployment: Deployment, major: int) -> ServerProvider | str:
    """Return a provider of this version in a container, or the reason against it; pulls the image."""
    reason = await in_thread(pull_image, major)
    if reason is not None:
        return reason
    start = partial(_start_temporary, deployment, partial(Container.start, major))
    return ServerProvider(dict.fromkeys(deployment.databases, major), start)


def no_server_error(consequence: str = "", detail: str | None = None) -> SettingsError:
    """Return the error for having no provider, whose hint lists the options."""
    return SettingsError(
        f"{consequence}there is no server for scratch databases",
        detail=detail,
        state="nothing was changed",
        hint="run pip install 'circle-migrate[embedded]' to use a private server;\n"
        "or pip install 'circle-migrate[container]' to use a container, if a Docker engine is running;\n"
        f"or set {_SCRATCH_URL};\n"
        "or add --scratch-on-target to use the live servers, if the role has CREATEDB",
    )


async def _from_url(deployment: Deployment) -> list[ServerProvider]:
    address = deployment.settings.scratch_url
    if address is None:
        return []
    database = _maintenance_database(deployment, address)
    try:
        majors = dict.fromkeys(deployment.databases, await _major(database))
        hosts = dict.fromkeys(deployment.databases, ScratchHost(database))
        return [ServerProvider(majors, lambda: nullcontext(hosts))]
    except (UsageError, Unreachable) as error:
        error.hint = f"set {_SCRATCH_URL}"
        raise


async def _target(deployment: Deployment) -> list[ServerProvider]:
    if not deployment.settings.scratch_on_target:
        return []
    databases = {name: deployment.databases[name] for name in deployment.reachable_databases(Direction.UP)}
    first = databases[deployment.selected[0]]  # the server also of databases without a URL
    databases = {name: item if item.settings.url else first for name, item in databases.items()}
    hosts = {name: ScratchHost(database, copy_locale=True) for name, database in databases.items()}
    majors = {name: await _major(database) for name, database in databases.items()}
    return [ServerProvider(majors, lambda: nullcontext(hosts))]


def _embedded(deployment: Deployment) -> list[ServerProvider]:
    try:
        installations = binaries.find_embedded()
    except SettingsError:
        return []
    providers = []
    for major in sorted(installations, reverse=True):
        majors = dict.fromkeys(deployment.databases, major)
        start = partial(TemporaryServer.start, installations[major])
        providers.append(ServerProvider(majors, partial(_start_temporary, deployment, start)))
    return providers


@asynccontextmanager
async def _start_temporary(
    deployment: Deployment, start: Callable[[], TemporaryServer | Container]
) -> AsyncIterator[ScratchHosts]:
    started: list[TemporaryServer | Container] = []
    try:
        # The server must be in the list before a cancellation is raised.
        await in_thread(lambda: started.append(start()))
        url = parse(started[0].url, source="a temporary server")
        yield dict.fromkeys(
            deployment.databases, ScratchHost(_maintenance_database(deployment, url), is_private=True)
        )
    finally:
        for temporary_server in started:
            await in_thread(temporary_server.remove)


def _maintenance_database(deployment: Deployment, address: Address) -> Database:
    """Return the maintenance database of a server, to which connections are made as to the first database."""
    first = next(iter(deployment.settings.databases.values()))
    return Database(first.model_copy(update={"name": "scratch", "url": address, "search_path": "public"}))


async def _major(database: Database) -> int:
    async with database.connected() as connection:
        return int(connection.get_server_version().major)


def nearest(majors: Iterable[int], major: int) -> int | None:
    """Return the nearest major version; of two, the newer, which supports the features of the older."""
    return min(majors, key=lambda item: (abs(item - major), -item), default=None)


class ScratchServers(AsyncExitStack):
    """Asynchronous context manager of servers, which are started when needed and stopped at the end.

    If it is not `enabled`, there is no server.
    """

    def __init__(self, deployment: Deployment, *, enabled: bool = True) -> None:
        super().__init__()
        self._enabled = enabled
        self._deployment = deployment
        self._lock = asyncio.Lock()
        self._providers: tuple[ServerProvider, ...] = ()
        self._reasons: dict[int, str] = {}
        self._started: dict[int, ScratchHosts] = {}

    async def majors(self, name: str, *wanted: int) -> tuple[int, ...]:
        """Return the major versions for a database, the preferred one first, with those of containers."""
        return tuple(dict.fromkeys(provider.majors[name] for provider in await self._find(name, wanted)))

    @asynccontextmanager
    async def databases(
        self,
        names: Iterable[str] | None = None,
        *,
        major: int | None = None,
        live_settings: Settings = NO_SETTINGS,
        with_schemas: bool = True,
    ) -> AsyncIterator[Scratch]:
        """Create databases for these names, by default for all that an upgrade needs; drop them at the end.

        Their sessions get the `live_settings`; `with_schemas` creates the schemas that the settings name,
        which a dump creates by itself. Uses the first provider with this major version for the first name,
        else the one with the nearest version. Raises `SettingsError` without any server, and the errors of
        `available_providers` and `create_databases`.
        """
        names = tuple(names or self._deployment.reachable_databases(Direction.UP))
        providers = await self._find(names[0], () if major is None else (major,))
        if not providers:
            raise no_server_error(detail="\n".join(self._reasons.values()) or None)
        provider = providers[0]
        if major is not None:
            version = nearest((item.majors[names[0]] for item in providers), major)
            provider = next(item for item in providers if item.majors[names[0]] == version)
        started = await self._start(provider)
        hosts = {name: started[name] for name in names}
        majors = {name: provider.majors[name] for name in names}
        create = create_databases(self._deployment, hosts, majors, live_settings, with_schemas=with_schemas)
        async with create as databases:
            yield databases

    async def _find(self, name: str, wanted: tuple[int, ...]) -> tuple[ServerProvider, ...]:
        """Return the providers, including containers for wanted versions that no other provider has."""
        if not self._enabled:
            return ()
        async with self._lock:
            self._providers = self._providers or await available_providers(self._deployment)
            for major in wanted or (() if self._providers else (NEWEST,)):
                has_version = any(provider.majors[name] == major for provider in self._providers)
                if not has_version and major not in self._reasons:
                    provider = await container_provider(self._deployment, major)
                    if isinstance(provider, str):
                        self._reasons[major] = provider
                    else:
                        self._providers += (provider,)
            return self._providers

    async def _start(self, provider: ServerProvider) -> ScratchHosts:
        async with self._lock:
            key = self._providers.index(provider)
            if key not in self._started:
                self._started[key] = await self.enter_async_context(provider.start())
            return self._started[key]


@asynccontextmanager
async def scratch_databases(
    deployment: Deployment,
    names: Iterable[str] | None = None,
    *,
    major: int | None = None,
    live_settings: Settings = NO_SETTINGS,
) -> AsyncIterator[Scratch]:
    """Create databases as `ScratchServers.databases`, for a single use."""
    async with (
        ScratchServers(deployment) as servers,
        servers.databases(names, major=major, live_settings=live_settings) as databases,
    ):
        yield databases
