"""Progress in bytes, told now and then while something grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_PAUSE = 0.5
"""Seconds between two looks."""


@asynccontextmanager
async def report_growth(
    measure: Callable[[], Awaitable[int]], tell: Callable[[int], None]
) -> AsyncIterator[None]:
    """Tell the size that `measure` finds while the block runs; a failure to measure ends the telling only."""
    follower = asyncio.create_task(_follow(measure, tell))
    try:
        yield
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def _follow(measure: Callable[[], Awaitable[int]], tell: Callable[[int], None]) -> None:
    while True:
        await asyncio.sleep(_PAUSE)
        tell(await measure())
