"""Shielded work ends even if the waiting task is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from circle_migrate.core.shield import gather_or_cancel, shield


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


@pytest.mark.parametrize(("is_cancelled", "raised"), [(False, ValueError), (True, KeyError)])
def test_works_end_with_the_first_error(*, is_cancelled: bool, raised: type[BaseException]) -> None:
    """A cancellation has the error of the work that reports what it has left."""

    async def check() -> None:
        ended = []

        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append(True)
                raise KeyError from None

        async def fail() -> None:
            await asyncio.sleep(0)
            if is_cancelled:
                await asyncio.Event().wait()
            raise ValueError

        waiting = asyncio.create_task(gather_or_cancel([endless(), fail()]))
        for _ in range(3):
            await asyncio.sleep(0)
        if is_cancelled:
            waiting.cancel()
        with pytest.raises(raised):
            await waiting
        assert ended == [True]

    asyncio.run(check())


def test_results_have_the_order_of_the_works() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0.01 if value == 1 else 0)
        return value

    assert asyncio.run(gather_or_cancel(map(work, (1, 2)))) == [1, 2]
