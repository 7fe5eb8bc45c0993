"""Measuring the tables of the databases: `stats`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from circle_migrate.migrate.identity import verify_identity
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.safety.live_database.sizes import sizes
from circle_migrate.safety.statistics_file import write
from circle_migrate.safety.table_statistics import DatabaseStats, Statistics, StatsResult


async def stats(deployment: Deployment, output: Path | None = None) -> StatsResult:
    """The sizes of all tables of the selected databases, written to a file where one is named.

    Nothing is written where a database cannot be measured. Raises what reading the states raises, and
    `UsageError` for a place that cannot be written to.
    """
    states = await deployment.states()
    verify_identity(deployment, states)
    found = await asyncio.gather(*(sizes(deployment.databases[name]) for name in states))
    measurements = {
        name: DatabaseStats(state.server_version_num, each)
        for (name, state), each in zip(states.items(), found, strict=True)
    }
    statistics = Statistics(datetime.now(UTC).replace(microsecond=0), measurements)
    if output is not None:
        write(output, statistics)
    return StatsResult("stats", statistics, None if output is None else str(output))
