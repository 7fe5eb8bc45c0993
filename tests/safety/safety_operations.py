"""Operations with expected verdicts, checked by traces and assumed sizes without a live database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from circle_migrate.config.load import load
from circle_migrate.postgres.async_connection import AsyncConnection
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.engine import run_rules
from circle_migrate.safety.rules.evidence import Evidence, Limits, Mode, Thresholds
from circle_migrate.safety.trace.record import Trace, TracedStatement
from circle_migrate.safety.trace.recorder import Recorder, SourceLocation
from circle_migrate.safety.trace.traced_connection import TracedConnection
from tests.safety.safety_cases import LARGE_ROWS, SafetyCase

_FOLDER = Path(__file__).parent
ALEMBIC, DOCUMENTED = "safety_operations.jsonl", "documented_operations.jsonl"
"""Files of operations: those of Alembic, and those in the documentation of other tools."""

_BYTES_PER_ROW = 100


@dataclass(frozen=True)
class Operation:
    """A case without rows; `because` is the reason if our verdict differs from the label."""

    case: SafetyCase
    ours: str
    because: str

    @property
    def commits(self) -> bool:
        """Whether a part of it runs outside of a transaction."""
        return not all(transactional for transactional, _ in self.case.transactions)

    def __str__(self) -> str:
        return self.case.id


def operations(file: str = ALEMBIC) -> tuple[str, dict[str, Size], tuple[Operation, ...]]:
    """Return the schema of all operations, the assumed sizes of its tables, and the operations."""
    first, *rest = (json.loads(line) for line in (_FOLDER / file).read_text(encoding="utf-8").splitlines())
    sizes = {
        name: Size(name, rows, rows * _BYTES_PER_ROW, source="assumed")
        for name, rows in first["sizes"].items()
    }
    cases = tuple(
        Operation(SafetyCase.from_dict(line), line.get("ours", line["expect"]), line.get("because", ""))
        for line in rest
    )
    return first["schema"], sizes, cases


class Bench:
    """A connection to a database with the schema, on which transactions are traced and rolled back.

    With `commits` each statement is committed.
    """

    def __init__(
        self, connection: AsyncConnection, traced_connection: TracedConnection, version: int, *, commits: bool
    ) -> None:
        self.connection = connection
        self.traced_connection = traced_connection
        self.version = version
        self.commits = commits
        self.catalog: Snapshot | None = traced_connection.catalog
        self.recorder = Recorder(lambda: SourceLocation("revision.py", 1))

    async def traced(self, case: SafetyCase) -> tuple[TracedStatement, ...]:
        """Return the traced statements of a case."""
        self.recorder.statements.clear()
        if self.commits:
            self.catalog = self.traced_connection.catalog
        for segment, (_, group) in enumerate(case.transactions, 1):
            self.recorder.segment, self.recorder.revision = segment, f"r{segment}"
            with suppress(DBAPIError):
                for statement in group:
                    await self.connection.run_sync(Connection.exec_driver_sql, statement)
            await self.connection.rollback()
        if not self.commits:
            self.traced_connection.catalog = self.catalog
            await self.traced_connection.refresh_relations()
        return tuple(self.recorder.statements)

    def judged(
        self, statements: Sequence[TracedStatement], sizes: dict[str, Size]
    ) -> tuple[HazardFinding, ...]:
        """Return the findings about traced statements, with these sizes and no live database."""
        return run_rules(
            Evidence(
                Trace(tuple(statements), (), self.version // 10000),
                sizes={"main": sizes},
                thresholds=Thresholds(Limits(rows=LARGE_ROWS)),
                mode=Mode.CI,
                catalogs={} if self.catalog is None else {"main": self.catalog},
            )
        )


@asynccontextmanager
async def bench(url: str, schema: str, *, commits: bool = False) -> AsyncIterator[Bench]:
    """Create the schema in an empty database and yield a bench on it."""
    connection: Any = await asyncpg.connect(url)
    await connection.execute(schema)
    version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    await connection.close()
    database = Deployment(load(environ={"DATABASE_URL": url})).databases["main"]
    async with database.working("circle-migrate test", {}) as session:
        if commits:
            await session.run_sync(Connection.execution_options, isolation_level="AUTOCOMMIT")
        driver = (await session.adapter()).driver
        traced_connection = TracedConnection(driver, database.settings)
        await traced_connection.begin()
        prepared = Bench(session, traced_connection, version, commits=commits)
        await session.run_sync(prepared.recorder.listen, traced_connection)
        yield prepared
