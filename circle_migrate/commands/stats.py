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
    """Return the sizes of all tables of the selected databases, written to the file `output`.

    Writes nothing if a database cannot be measured. Raises the errors of reading the databases, and
    `UsageError` for a file that cannot be written.
    """
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
