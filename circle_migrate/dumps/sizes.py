"""Progress in bytes, told now and then while something grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_PAUSE = 0.5
"""Seconds between two looks."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def shown(size: int) -> str:
    """A number of bytes in the largest unit that fits, counted in 1024s as PostgreSQL does."""
    number, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if abs(number) < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == _UNITS[0] else f"{number:.1f} {unit}"


@asynccontextmanager
async def followed(measure: Callable[[], Awaitable[int]], tell: Callable[[int], None]) -> AsyncIterator[None]:
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
