"""Run the command in other processes, and sessions that block them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from circle_migrate.postgres.deployer_lock import KEY
from tests.deployments import Answer, environment
from tests.faults.states import rows
from tests.fork_server import Forked
from tests.servers import Databases

PATIENCE_SECONDS = 60


class Process:
    """A process that runs `circle-migrate`."""

    def __init__(self, databases: Databases, folder: Path, *arguments: str) -> None:
        self.popen = Forked(*arguments, env=environment(databases), cwd=folder)

    def end(self) -> Answer:
        """Return its output after it has ended."""
        stdout, stderr = self.popen.communicate(timeout=PATIENCE_SECONDS)
        return Answer(self.popen.wait(), stdout, stderr)


@contextmanager
def started(databases: Databases, folder: Path, *arguments: str) -> Iterator[Process]:
    """Run the command while the block runs, then kill it if it has not ended."""
    process = Process(databases, folder, *arguments)
    try:
        yield process
    finally:
        process.popen.kill()
        process.popen.communicate()


async def until(databases: Databases, name: str, query: str) -> None:
    """Wait until a query on one of the databases finds a row."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await rows(databases, name, query):  # noqa: ASYNC110 - the server has no event for us
            await asyncio.sleep(0.05)


@asynccontextmanager
async def holding(databases: Databases, name: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a session with a transaction in which a statement has run."""
    async with databases.connect(name) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)
        yield connection
        if not connection.is_closed():
            await transaction.rollback()


@asynccontextmanager
async def deploying(databases: Databases, name: str) -> AsyncIterator[int]:
    """Hold the deployer lock of one database in another session; yield its process id."""
    async with databases.connect(name) as connection:
        await connection.execute("SET application_name = 'circle-migrate other'")
        assert await connection.fetchval("SELECT pg_try_advisory_lock($1)", KEY)
        pid: int = connection.get_server_pid()
        yield pid
