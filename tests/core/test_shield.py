"""Shielded work ends even if the waiting task is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from circle_migrate.core.shield import shield


@pytest.mark.parametrize(
    ("fails", "raise_error", "raised"),
    [
        (False, False, asyncio.CancelledError),
        (True, False, asyncio.CancelledError),
        (False, True, asyncio.CancelledError),
        (True, True, ValueError),
    ],
)
def test_cancelled_twice_it_ends_first(
    *, fails: bool, raise_error: bool, raised: type[BaseException]
) -> None:
    async def check() -> None:
        end = asyncio.Event()
        ended = []

        async def work() -> None:
            await end.wait()
            ended.append(True)
            if fails:
                raise ValueError

        waiting = asyncio.create_task(shield(work(), raise_error=raise_error))
        for _ in range(2):
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        end.set()
        with pytest.raises(raised):
            await waiting
        assert ended == [True]

    asyncio.run(check())
