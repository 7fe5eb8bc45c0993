"""Operations with known verdicts, judged by traces and assumed sizes: no rows and no live database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from circle_migrate.config.load import load
from circle_migrate.postgres.catalog.snapshot import Snapshot
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.safety.live_database.record import Size
from circle_migrate.safety.result import HazardFinding
from circle_migrate.safety.rules.engine import run_rules
from circle_migrate.safety.rules.evidence import Evidence, Limits, Mode, Thresholds
from circle_migrate.safety.trace.record import Trace, TracedStatement
from circle_migrate.safety.trace.recorder import Origin, Recorder
from circle_migrate.safety.trace.traced_connection import TracedConnection
from tests.safety.safety_cases import LARGE_ROWS, SafetyCase

_FILE = Path(__file__).parent / "safety_operations.jsonl"
_BYTES_OF_A_ROW = 100


@dataclass(frozen=True)
class Operation:
    """A case that needs no rows; where our verdict is another than the label, `because` says why."""

    case: SafetyCase
    ours: str
    because: str

    @property
    def commits(self) -> bool:
        """Whether a part of it runs outside of any transaction."""
        return not all(transactional for transactional, _ in self.case.transactions)

    def __str__(self) -> str:
        return self.case.id


def operations() -> tuple[str, dict[str, Size], tuple[Operation, ...]]:
    """The schema of all operations, the sizes that its tables are taken to have, and the operations."""
    first, *rest = (json.loads(line) for line in _FILE.read_text(encoding="utf-8").splitlines())
    sizes = {
        name: Size(name, rows, rows * _BYTES_OF_A_ROW, source="assumed")
        for name, rows in first["sizes"].items()
    }
    found = (
        Operation(SafetyCase.from_dict(each), each.get("ours", each["expect"]), each.get("because", ""))
        for each in rest
    )
    return first["schema"], sizes, tuple(found)


class Bench:
    """A connection to a database with the schema, on which every transaction is traced and rolled back.

    On one that `commits`, each statement is committed by itself, and stays.
    """

    def __init__(
        self, connection: AsyncConnection, backend: TracedConnection, version: int, *, commits: bool
    ) -> None:
        self.connection = connection
        self.backend = backend
        self.version = version
        self.commits = commits
        self.catalogue: Snapshot | None = backend.catalogue
        self.recorder = Recorder(lambda: Origin("revision.py", 1))

    async def traced(self, case: SafetyCase) -> tuple[TracedStatement, ...]:
        """The statements of a case."""
        self.recorder.statements.clear()
        if self.commits:
            self.catalogue = self.backend.catalogue
        for segment, (_, group) in enumerate(case.transactions, 1):
            self.recorder.segment, self.recorder.revision = segment, f"r{segment}"
            with suppress(DBAPIError):
                for statement in group:
                    await self.connection.exec_driver_sql(statement)
            await self.connection.rollback()
        if not self.commits:
            self.backend.catalogue = self.catalogue
            await self.backend.refresh_relations()
        return tuple(self.recorder.statements)

    def judged(
        self, statements: Sequence[TracedStatement], sizes: dict[str, Size]
    ) -> tuple[HazardFinding, ...]:
        """The verdicts about traced statements, with these sizes and no live database."""
        return run_rules(
            Evidence(
                Trace(tuple(statements), (), self.version // 10000),
                sizes={"main": sizes},
                thresholds=Thresholds(Limits(rows=LARGE_ROWS)),
                mode=Mode.CI,
                catalogues={} if self.catalogue is None else {"main": self.catalogue},
            )
        )


@asynccontextmanager
async def bench(url: str, schema: str, *, commits: bool = False) -> AsyncIterator[Bench]:
    """A bench on an empty database, which is given the schema."""
    connection: Any = await asyncpg.connect(url)
    await connection.execute(schema)
    version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    await connection.close()
    database = Deployment(load(environ={"DATABASE_URL": url})).databases["main"]
    async with database.working("circle-migrate test", {}) as session:
        if commits:
            await session.execution_options(isolation_level="AUTOCOMMIT")
        driver = (await session.get_raw_connection()).driver_connection
        backend = TracedConnection(driver, database.settings)
        await backend.begin()
        made = Bench(session, backend, version, commits=commits)
        await session.run_sync(made.recorder.listen, made.backend)
        yield made
