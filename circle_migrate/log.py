"""The journals of both databases as one list of runs."""

from __future__ import annotations

from circle_migrate.core.entries import RunEntry
from circle_migrate.core.runs import Log, Source
from circle_migrate.deployment import Deployment
from circle_migrate.errors import CircleError, UsageError
from circle_migrate.faults import statement_fault
from circle_migrate.journal import Journal


async def log(deployment: Deployment, limit: int, *, slowest: bool = False) -> Log:
    """The latest `limit` runs of each selected database, newest first.

    With `slowest` their steps are shown by duration. Reads only; a database without a journal has no runs.
    """
    runs: list[RunEntry] = []
    for name in deployment.selected:
        runs += await _runs(deployment, name, limit)
    runs.sort(key=lambda run: run.started_at, reverse=True)
    return Log("log", tuple(runs), slowest)


async def _runs(deployment: Deployment, name: str, limit: int) -> list[RunEntry]:
    database = deployment.databases[name]
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state.schema)
        if not await journal.exists(connection):
            return []
        try:
            return await journal.read(connection, limit)
        except Exception as error:
            fault: CircleError | None = statement_fault(error, name, "read the journal")
            if fault is None:
                raise
            fault.hint = f'GRANT SELECT ON {journal.runs}, {journal.steps} TO "{state.role}";'
            raise fault from error


async def source(deployment: Deployment, revision: str) -> Source:
    """The text of a revision as it was applied; a unique beginning of its id will do. Raises `UsageError`."""
    found = [each for name in deployment.selected for each in await _sources(deployment, name, revision)]
    found = [each for each in found if each.revision == revision][:1] or found
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{revision!r} fits {', '.join(each.revision for each in found)}"
        if found
        else f"no journal has the source of {revision!r}",
        hint="`circle-migrate log --slowest` lists the revisions that ran",
    )


async def _sources(deployment: Deployment, name: str, beginning: str) -> list[Source]:
    database = deployment.databases[name]
    async with database.reading() as connection:
        state = await database.read_state(connection)
        journal = Journal(database, state.schema)
        if not await journal.exists(connection):
            return []
        texts = await journal.sources(connection, beginning)
        return [Source("log", name, revision, text) for revision, text in texts.items()]
