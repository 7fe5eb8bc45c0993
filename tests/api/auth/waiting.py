"""Waiting until statements of the application wait for a lock."""

from __future__ import annotations

import asyncio

from tests.servers import Databases

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def until_waiting(databases: Databases, count: int, name: str = "credentials") -> None:
    """Wait until so many sessions wait for a lock."""
    async with asyncio.timeout(30), databases.connect(name) as connection:
        while await connection.fetchval(_WAITING) < count:  # noqa: ASYNC110 - the server has no event for us
            await asyncio.sleep(0.02)
