"""The servers on which one command makes its scratch databases."""

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
    no_server,
)
from circle_migrate.revision_graph.plan import Direction

if TYPE_CHECKING:
    from circle_migrate.postgres.deployment import Deployment


class ScratchServers:
    """Servers for scratch databases, each found or started when it is first needed and kept until the end.

    An asynchronous context manager, which costs nothing as long as nobody asks for a database.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._roads: tuple[ServerProvider, ...] = ()
        self._refused: dict[int, str] = {}
        self._started: dict[int, ScratchHosts] = {}

    async def __aenter__(self) -> ScratchServers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    async def majors(self, name: str, *wanted: int) -> tuple[int, ...]:
        """The PostgreSQL major versions that a database can be made in, the preferred one first.

        With those `wanted` that can be had in a container. None where there is no server at all. Raises what
        `find_roads` raises.
        """
        return tuple(dict.fromkeys(road.majors[name] for road in await self._find(name, wanted)))

    @asynccontextmanager
    async def databases(
        self, names: Iterable[str] | None = None, *, major: int | None = None
    ) -> AsyncIterator[Scratch]:
        """New, empty databases for these names, dropped at the end; by default for all that an upgrade needs.

        On the first road whose server for the first name has this major version, else on the nearest one:
        `Scratch.majors` says which. Raises `SettingsError` where there is no server at all, and what
        `find_roads` and `make` raise.
        """
        chosen = tuple(names or self._deployment.reachable_databases(Direction.UP))
        roads = await self._find(chosen[0], () if major is None else (major,))
        if not roads:
            raise no_server(detail="\n".join(self._refused.values()) or None)
        road = _nearest_provider(roads, chosen[0], major)
        places = await self._start(road)
        async with create_databases(
            self._deployment,
            {name: places[name] for name in chosen},
            {name: road.majors[name] for name in chosen},
        ) as made:
            yield made

    async def _find(self, name: str, wanted: tuple[int, ...]) -> tuple[ServerProvider, ...]:
        """The roads; a container is one for what is wanted and nothing else offers."""
        async with self._lock:
            self._roads = self._roads or await available_providers(self._deployment)
            for major in wanted or (() if self._roads else (NEWEST,)):
                offered = any(road.majors[name] == major for road in self._roads)
                if not offered and major not in self._refused:
                    await self._add_container(major)
            return self._roads

    async def _add_container(self, major: int) -> None:
        server_provider = await container_provider(self._deployment, major)
        if isinstance(server_provider, str):
            self._refused[major] = server_provider
        else:
            self._roads += (server_provider,)

    async def _start(self, road: ServerProvider) -> ScratchHosts:
        async with self._lock:
            key = self._roads.index(road)
            if key not in self._started:
                self._started[key] = await self._stack.enter_async_context(road.start())
            return self._started[key]


def _nearest_provider(roads: tuple[ServerProvider, ...], name: str, major: int | None) -> ServerProvider:
    if major is None:
        return roads[0]
    found = nearest((road.majors[name] for road in roads), major)
    return next(road for road in roads if road.majors[name] == found)


@asynccontextmanager
async def scratch(
    deployment: Deployment, names: Iterable[str] | None = None, *, major: int | None = None
) -> AsyncIterator[Scratch]:
    """`ScratchServers.databases` for whoever needs them once."""
    async with ScratchServers(deployment) as servers, servers.databases(names, major=major) as made:
        yield made
