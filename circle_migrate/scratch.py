"""Scratch databases: empty ones beside nobody's data, dropped after use, also those a killed run has left."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from circle_migrate.database import quote
from circle_migrate.deployment import Deployment
from circle_migrate.embedded import server
from circle_migrate.urls import Address, parse

if TYPE_CHECKING:
    from circle_migrate.servers import ServerStatus

_PREFIX = "circle_scratch_"

_LEFT_OVER = 3600
"""Seconds after which a scratch database belongs to nobody any more."""


@asynccontextmanager
async def scratch(deployment: Deployment) -> AsyncIterator[Deployment]:
    """The same trees over new, empty databases on the embedded server, stopped after if it did not run.

    Raises `SettingsError` where the embedded server is not installed.
    """
    embedded = server(deployment.settings)
    was_running = embedded.status().running
    status = await asyncio.to_thread(embedded.start)
    maintenance = parse(status.url("postgres"), source="the embedded server")
    stem = f"{_PREFIX}{int(time.time())}_{uuid.uuid4().hex[:8]}_"
    try:
        await _drop(maintenance, await _left_over(maintenance))
        names = {each.name: stem + each.name for each in deployment.settings.databases}
        await _execute(maintenance, [f"CREATE DATABASE {quote(name)}" for name in names.values()])
        try:
            yield _over(deployment, status, names)
        finally:
            await asyncio.shield(_drop(maintenance, list(names.values())))
    finally:
        if not was_running:
            await asyncio.to_thread(embedded.stop)


def _over(deployment: Deployment, status: ServerStatus, names: dict[str, str]) -> Deployment:
    databases = tuple(
        replace(each, url=parse(status.url(names[each.name]), source="a scratch database"))
        for each in deployment.settings.databases
    )
    settings = replace(deployment.settings, databases=databases, atomic=False)
    return Deployment(settings, deployment.selected[0] if len(deployment.selected) == 1 else None)


async def _left_over(maintenance: Address) -> list[str]:
    import asyncpg

    connection = await asyncpg.connect(**maintenance.connect_kwargs())
    try:
        rows = await connection.fetch(
            "SELECT datname FROM pg_catalog.pg_database WHERE left(datname, length($1)) = $1", _PREFIX
        )
    finally:
        await connection.close()
    begun = ((row["datname"], row["datname"].removeprefix(_PREFIX).partition("_")[0]) for row in rows)
    return [name for name, second in begun if second.isdigit() and time.time() - int(second) > _LEFT_OVER]


async def _drop(maintenance: Address, names: list[str]) -> None:
    await _execute(maintenance, [f"DROP DATABASE IF EXISTS {quote(name)} WITH (FORCE)" for name in names])


async def _execute(maintenance: Address, statements: list[str]) -> None:
    import asyncpg

    connection = await asyncpg.connect(**maintenance.connect_kwargs())
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
