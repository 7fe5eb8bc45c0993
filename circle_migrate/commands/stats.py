"""`stats`: measure the tables of the databases."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from circle_migrate.migrate.guards import verify_identity
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.safety.live_database.catalog import relation_sizes
from circle_migrate.safety.statistics_and_baseline import (
    DatabaseStats,
    Statistics,
    StatsResult,
    write_statistics,
)


async def stats(deployment: Deployment, output: Path | None = None) -> StatsResult:
    """Write the sizes of all tables to the file `output`, or nothing if one database cannot be measured."""
    states = await deployment.states()
    verify_identity(deployment, states)
    tables = await asyncio.gather(*(relation_sizes(deployment.databases[name]) for name in states))
    by_database = {
        name: DatabaseStats(state.server_version_num, table_sizes)
        for (name, state), table_sizes in zip(states.items(), tables, strict=True)
    }
    statistics = Statistics(datetime.now(UTC).replace(microsecond=0), by_database)
    if output is not None:
        write_statistics(output, statistics)
    return StatsResult("stats", statistics, None if output is None else str(output))
