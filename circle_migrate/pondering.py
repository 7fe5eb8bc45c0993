"""Knowing when servers take their time, so that this process does work of its own then and only then."""

from __future__ import annotations

import asyncio
from contextlib import suppress

_PATIENCE = 0.05
"""Seconds; what a server need not ponder takes it a tenth of that."""


class Pondering:
    """Whether any server has been asked something that takes it a while.

    That is what `with pondering:` around a question says.
    """

    def __init__(self) -> None:
        self._questions = 0
        self._any = asyncio.Event()

    def __enter__(self) -> None:
        self._questions += 1
        self._any.set()

    def __exit__(self, *_: object) -> None:
        self._questions -= 1
        if not self._questions:
            self._any.clear()

    def end(self) -> None:
        """Nothing is asked any more, and so nothing is to be waited for."""
        self._any.set()

    async def wait(self) -> None:
        """Let answers that have arrived be heard, then go on as soon as a server ponders.

        One that keeps silent where an answer should come at once is not waited for.
        """
        await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._any.wait()
