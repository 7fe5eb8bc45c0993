"""`log`: the runs in the journals, and the source text of applied revisions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from circle_migrate.commands.run_results import LogResult, SourceResult
from circle_migrate.core.errors import UsageError
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.journal_entry import JournalRun
from circle_migrate.postgres.deployment import Deployment

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")


async def log(deployment: Deployment, limit: int, *, slowest: bool = False) -> LogResult:
    """Return the latest `limit` runs of each selected database, newest first.

    `slowest` shows their steps by duration. Only reads; a database without a journal has no runs.
    """
    runs: list[JournalRun] = []
    for name in deployment.selected:
        runs += await _read(deployment, name, lambda journal, connection: journal.read(connection, limit))
    runs.sort(key=lambda run: run.started_at, reverse=True)
    return LogResult("log", tuple(runs), slowest)


async def source(deployment: Deployment, revision: str) -> SourceResult:
    """Return the source of an applied revision, given by its id or a unique prefix. Raises `UsageError`."""

    async def read_sources(journal: Journal, connection: asyncpg.Connection) -> list[SourceResult]:
        texts = await journal.sources_by_prefix(connection, revision)
        return [SourceResult("log", journal.database.name, key, text) for key, text in texts.items()]

    matches = [match for name in deployment.selected for match in await _read(deployment, name, read_sources)]
    for match in matches:
        if match.revision == revision or len(matches) == 1:
            return match
    raise UsageError(
        f"several revisions begin with {revision!r}: {', '.join(match.revision for match in matches)}"
        if matches
        else f"no journal has the source of revision {revision!r}",
        hint="`circle-migrate log --slowest` lists the applied revisions",
    )


async def _read(
    deployment: Deployment, name: str, query: Callable[[Journal, asyncpg.Connection], Awaitable[list[T]]]
) -> list[T]:
    """Return the result of a query of the journal of a database, nothing if there is no journal."""
    database = deployment.databases[name]
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state.schema)
        if not await journal.exists(connection):
            return []
        with journal.reading_as(state.role):
            return await query(journal, connection)
