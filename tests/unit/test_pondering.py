"""Who waits for servers to ponder goes on while any of them does, and once nothing is asked any more."""

from __future__ import annotations

import asyncio

from circle_migrate.pondering import Pondering


async def _goes_on(pondering: Pondering) -> bool:
    waiting = asyncio.ensure_future(pondering.wait())
    for _ in range(3):
        await asyncio.sleep(0)
    goes_on = waiting.done()
    waiting.cancel()
    return goes_on


def test_work_goes_on_while_any_server_ponders() -> None:
    async def ask() -> list[bool]:
        pondering = Pondering()
        found = [await _goes_on(pondering)]
        with pondering:
            found.append(await _goes_on(pondering))
            with pondering:
                found.append(await _goes_on(pondering))
            found.append(await _goes_on(pondering))
        found.append(await _goes_on(pondering))
        pondering.end()
        return [*found, await _goes_on(pondering)]

    assert asyncio.run(ask()) == [False, True, True, True, False, True]
