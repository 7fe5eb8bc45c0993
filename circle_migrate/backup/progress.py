"""Report how a file or a database grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_INTERVAL = 0.5
"""Seconds between two measurements."""


@asynccontextmanager
async def report_growth(
    measure: Callable[[], Awaitable[int]], report: Callable[[int], None]
) -> AsyncIterator[None]:
    """Report the measured size while the block runs; a failed measurement only ends the reports."""

    async def run() -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            report(await measure())

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
