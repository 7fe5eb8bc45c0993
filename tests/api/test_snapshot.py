"""A value that many requests share."""

from __future__ import annotations

import asyncio
import gc

import pytest

from circle_migrate.api.snapshot import Snapshot
from tests.servers import run


def test_reading_that_is_ended_leaves_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The request that waited for it has been given up before."""

    async def hangs() -> int:
        await asyncio.sleep(3600)
        return 1

    async def scenario() -> None:
        snapshot = Snapshot(hangs, 1)
        request = asyncio.create_task(snapshot.get(60))
        await asyncio.sleep(0.1)
        request.cancel()
        await asyncio.wait({request})
        await snapshot.close()

    run(scenario())
    gc.collect()
    assert caplog.text == ""
