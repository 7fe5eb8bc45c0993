"""The servers for the scratch databases of one command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from circle_migrate.postgres.scratch.container import NEWEST
from circle_migrate.postgres.scratch.databases import Scratch, create_databases
from circle_migrate.postgres.scratch.providers import (
    ScratchHosts,
    ServerProvider,
    available_providers,
    container_provider,
    nearest,
    no_server_error,
)
from circle_migrate.revision_graph.plan import Direction

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment


class ScratchServers:
    """Asynchronous context manager of servers, which are started when needed and stopped at the end."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._providers: tuple[ServerProvider, ...] = ()
        self._reasons: dict[int, str] = {}
        self._started: dict[int, ScratchHosts] = {}

    async def __aenter__(self) -> ScratchServers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    async def majors(self, name: str, *wanted: int) -> tuple[int, ...]:
        """Return the available PostgreSQL major versions for a database, the preferred one first.

        They include the `wanted` versions that a container provides. Empty without any server. Raises the
        errors of `available_providers`.
        """
        return tuple(dict.fromkeys(provider.majors[name] for provider in await self._find(name, wanted)))

    @asynccontextmanager
    async def databases(
        self, names: Iterable[str] | None = None, *, major: int | None = None
    ) -> AsyncIterator[Scratch]:
        """Create databases for these names, by default for all that an upgrade needs; drop them at the end.

        Uses the first provider with this major version for the first name, else the one with the nearest
        version. Raises `SettingsError` without any server, and the errors of `available_providers` and
        `create_databases`.
        """
        chosen = tuple(names or self._deployment.reachable_databases(Direction.UP))
        providers = await self._find(chosen[0], () if major is None else (major,))
        if not providers:
            raise no_server_error(detail="\n".join(self._reasons.values()) or None)
        provider = _nearest_provider(providers, chosen[0], major)
        started = await self._start(provider)
        hosts = {name: started[name] for name in chosen}
        majors = {name: provider.majors[name] for name in chosen}
        async with create_databases(self._deployment, hosts, majors) as databases:
            yield databases

    async def _find(self, name: str, wanted: tuple[int, ...]) -> tuple[ServerProvider, ...]:
        """Return the providers, including containers for wanted versions that no other provider has."""
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
                self._started[key] = await self._stack.enter_async_context(provider.start())
            return self._started[key]


def _nearest_provider(providers: tuple[ServerProvider, ...], name: str, major: int | None) -> ServerProvider:
    if major is None:
        return providers[0]
    version = nearest((provider.majors[name] for provider in providers), major)
    return next(provider for provider in providers if provider.majors[name] == version)


@asynccontextmanager
async def scratch_databases(
    deployment: Deployment, names: Iterable[str] | None = None, *, major: int | None = None
) -> AsyncIterator[Scratch]:
    """Create databases as `ScratchServers.databases`, for a single use."""
    async with ScratchServers(deployment) as servers, servers.databases(names, major=major) as databases:
        yield databases
