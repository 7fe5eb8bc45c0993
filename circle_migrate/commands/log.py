"""The journals of both databases as one list of runs."""

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
    """The latest `limit` runs of each selected database, newest first.

    With `slowest` their steps are shown by duration. Reads only; a database without a journal has no runs.
    """
    runs: list[JournalRun] = []
    for name in deployment.selected:
        runs += await _read(deployment, name, lambda journal, on: journal.read(on, limit))
    runs.sort(key=lambda run: run.started_at, reverse=True)
    return LogResult("log", tuple(runs), slowest)


async def source(deployment: Deployment, revision: str) -> SourceResult:
    """The text of a revision as it was applied; a unique beginning of its id will do. Raises `UsageError`."""

    async def sources(journal: Journal, connection: asyncpg.Connection) -> list[SourceResult]:
        texts = await journal.sources_by_prefix(connection, revision)
        return [SourceResult("log", journal.database.name, key, text) for key, text in texts.items()]

    source_results = [
        source_result
        for name in deployment.selected
        for source_result in await _read(deployment, name, sources)
    ]
    source_results = [
        source_result for source_result in source_results if source_result.revision == revision
    ][:1] or source_results
    if len(source_results) == 1:
        return source_results[0]
    raise UsageError(
        f"{revision!r} fits {', '.join(source_result.revision for source_result in source_results)}"
        if source_results
        else f"no journal has the source of {revision!r}",
        hint="`circle-migrate log --slowest` lists the revisions that ran",
    )


async def _read(
    deployment: Deployment,
    name: str,
    question: Callable[[Journal, asyncpg.Connection], Awaitable[list[T]]],
) -> list[T]:
    """What the journal of a database answers; nothing where there is none."""
    database = deployment.databases[name]
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state.schema)
        if not await journal.exists(connection):
            return []
        with journal.reading_as(state.role):
            return await question(journal, connection)
