"""`log`: the runs in the journals, and the source text of applied revisions."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from circle_migrate.core.errors import UsageError
from circle_migrate.core.redaction import redact_python
from circle_migrate.core.result import Result, json_fields
from circle_migrate.migrate.journal import Journal
from circle_migrate.migrate.journal_rows import JournalRun, JournalStep
from circle_migrate.postgres.deployment import Deployment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogResult(Result):
    """The result of `log`: runs, newest first; `slowest` shows their steps by duration."""

    runs: tuple[JournalRun, ...]
    slowest: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return one object per run and database."""
        names = " ".join(JournalRun._fields)
        return {
            "runs": [
                json_fields(run, names) | {"steps": list(map(_step_dict, run.steps))} for run in self.runs
            ]
        }


def _step_dict(step: JournalStep) -> dict[str, Any]:
    names = "segment direction revision message started_at duration_ms checksum elsewhere"
    return json_fields(step, names) | {"duration_ms": round(step.duration_ms, 3)}


@dataclass(frozen=True, slots=True)
class SourceResult(Result):
    """The result of `log --source`: the source text of an applied revision."""

    database: str
    revision: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return the database, the revision and the text."""
        return {"database": self.database, "revision": self.revision, "source": self.text}


async def log(
    deployment: Deployment, limit: int, *, slowest: bool = False, run: str | None = None
) -> LogResult:
    """Return the latest `limit` runs on all databases that have a journal, newest first; only reads.

    With the id of a `run` only that one.
    """

    async def read(journal: Journal, connection: asyncpg.Connection) -> list[JournalRun]:
        return await journal.read(connection, limit, run)

    runs: list[JournalRun] = []
    for name in deployment.selected:
        runs += await _read(deployment, name, read)
    runs.sort(key=lambda run: run.started_at, reverse=True)
    latest = list(dict.fromkeys(run.run for run in runs))[:limit]
    return LogResult("log", tuple(run for run in runs if run.run in latest), slowest)


async def source(deployment: Deployment, revision: str) -> SourceResult:
    """Return the source of an applied revision, given by its id or a unique prefix. Raises `UsageError`."""

    async def read_sources(journal: Journal, connection: asyncpg.Connection) -> list[SourceResult]:
        texts = await journal.sources(connection, prefix=revision)
        return [
            SourceResult("log", journal.database.name, key, redact_python(text))
            for key, text in texts.items()
        ]

    matches = [match for name in deployment.selected for match in await _read(deployment, name, read_sources)]
    for match in matches:
        if match.revision == revision or len(matches) == 1:
            return match
    raise UsageError(
        f"several revisions begin with {revision!r}: {', '.join(match.revision for match in matches)}"
        if matches
        else f"no journal has the source of revision {revision!r}",
        hint="to list the applied revisions: circle-migrate log --slowest",
    )


async def _read(
    deployment: Deployment, name: str, query: Callable[[Journal, asyncpg.Connection], Awaitable[list[T]]]
) -> list[T]:
    """Return the result of a query of the journal of a database, nothing if there is no journal."""
    database = deployment.databases[name]
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state)
        if state.journal_of is None:
            return []
        with journal.reading_as(state.role):
            return await query(journal, connection)
