"""Every example of a hazard on PostgreSQL: it ends as its record says, and the good ones make nobody wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from circle_migrate.core.errors import MigrateError
from circle_migrate.migrate.alembic_adapter.context import InTurns, VersionTable
from circle_migrate.migrate.alembic_adapter.runner import Runner
from circle_migrate.postgres.search_path import SETTING
from circle_migrate.postgres.server_errors import sqlstate
from circle_migrate.postgres.simple_protocol import adapt
from circle_migrate.revision_graph.combined_graph import CombinedGraph
from circle_migrate.revision_graph.plan import Plan, Segment, Step, plan_downgrade
from circle_migrate.safety.hazards.hazard import HazardClass
from tests.safety.hazard_examples import CASES, Case, combined_graph, connection_of, plan, prepared, write
from tests.servers import NAMES, Databases, Server, run

pytestmark = pytest.mark.thorough

# What PostgreSQL says about work that takes as long as the table is large.
_WORK = re.compile(r"(rewriting table|verifying table|validating foreign key|building index)")
_SAID_OF = {
    HazardClass.TABLE_REWRITE: "rewriting table",
    HazardClass.BLOCKING_SCAN: r"verifying table|validating foreign key|scanning",
    HazardClass.INDEX_BUILD: "building index",
}
_EXISTING = "SELECT oid, relname, pg_relation_filenode(oid) FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
_LOCKED = (
    "SELECT relation FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
    " AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
)


@dataclass
class Watch:
    """What a session says and holds while a case runs on it."""

    existing: dict[int, str]
    files: dict[int, int | None]
    said: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    """Work on tables that existed before, done while somebody else would have to wait for one of them."""

    def attach(self, connection: Connection) -> None:
        """Listen to a connection; its statements are followed by a look at its locks."""
        driver = connection_of(connection)
        driver.add_log_listener(lambda _connection, message: self.said.append(message.message))
        begun = 0

        def before(*_: object) -> None:
            nonlocal begun
            begun = len(self.said)

        def after(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            cursor = connection.connection.cursor()
            cursor.execute(_LOCKED)
            locked = {self.existing[oid] for (oid,) in cursor.fetchall() if oid in self.existing}
            worked = [text for text in self.said[begun:] if self._is_of_size(text)]
            if locked and worked:
                self.waits.append(f"{statement}: {worked} under locks on {sorted(locked)}")

        event.listen(connection, "before_cursor_execute", before)
        event.listen(connection, "after_cursor_execute", after)

    def _is_of_size(self, text: str) -> bool:
        table = re.search(r'table "([^"]+)"', text)
        return bool(_WORK.search(text)) and (table is None or table[1] in self.existing.values())


@dataclass
class Ending:
    """How a case ended: its error in the terms of the record, and what each database's session saw."""

    error: str
    watches: dict[str, Watch]
    files: dict[str, dict[int, int | None]]

    @property
    def said(self) -> str:
        """Everything the sessions were told."""
        return "\n".join(text for watch in self.watches.values() for text in watch.said)

    @property
    def copied(self) -> set[str]:
        """The tables that existed before and now lie in another file."""
        return {
            watch.existing[oid]
            for name, watch in self.watches.items()
            for oid, file in watch.files.items()
            if self.files[name].get(oid, file) != file
        }


@dataclass
class Session:
    """A connection to one of the databases, watched."""

    connection: AsyncConnection
    watch: Watch

    @classmethod
    async def start(cls, connection: AsyncConnection) -> Session:
        """Note what exists, then listen."""
        rows = (await connection.exec_driver_sql(_EXISTING)).all()
        await connection.exec_driver_sql("SET client_min_messages = debug1")
        await connection.exec_driver_sql(f"SET {SETTING} = 'public'")
        await connection.commit()
        watch = Watch({oid: name for oid, name, _ in rows}, {oid: file for oid, _, file in rows})
        await connection.run_sync(watch.attach)
        return cls(connection, watch)


def engine_of_steps(url: str) -> AsyncEngine:
    """Return an engine whose connections are those of the package."""
    engine: AsyncEngine = create_async_engine(
        "postgresql+asyncpg://",
        creator=lambda: adapt(engine.dialect.dbapi, asyncpg.connect(url)),
        poolclass=NullPool,
    )
    return engine


async def carry_out(case: Case, databases: Databases, folder: Path) -> Ending:
    """Run the case's revisions through the package's own runner, and nothing else of a run around it."""
    folders = {name: folder / name for name in NAMES}
    for item in folders.values():
        item.mkdir()
    write(case, folders)
    trees = combined_graph(folders)
    made = plan(case, trees)
    async with prepared(case, databases), AsyncExitStack() as stack:
        sessions = {}
        for name in made.databases:
            engine = engine_of_steps(databases.urls[name])
            sessions[name] = await Session.start(await stack.enter_async_context(engine.connect()))
        runners = {
            name: Runner(trees.graphs[name], VersionTable(schema="public"), made.steps(name))
            for name in made.databases
        }
        at: dict[str, tuple[str, ...]] = dict(made.current)
        error = ""
        try:
            for segment in (*made.segments, *way_back(case, trees, made).segments):
                await in_segment(segment, sessions, runners, at)
        except Exception as raised:  # noqa: BLE001 - its record says which
            error = (
                raised.code if isinstance(raised, MigrateError) else sqlstate(raised) or type(raised).__name__
            )
        files = {}
        for name, session in sessions.items():
            await session.connection.rollback()
            rows = (await session.connection.exec_driver_sql(_EXISTING)).all()
            files[name] = {oid: file for oid, _, file in rows}
        return Ending(error, {name: session.watch for name, session in sessions.items()}, files)


def way_back(case: Case, trees: CombinedGraph, made: Plan) -> Plan:
    """The plan that undoes the case where its revisions say how; an empty one where they do not."""
    if not all(revision.downgrade for revision in case.revisions):
        return Plan({}, {})
    applied = {name: set(trees.graphs[name].revisions) for name in made.databases}
    return plan_downgrade(trees, made.after, applied)


async def in_segment(
    segment: Segment,
    sessions: dict[str, Session],
    runners: dict[str, Runner],
    at: dict[str, tuple[str, ...]],
) -> None:
    """A segment as the executor runs it: in one transaction per database, or without any."""
    for name in segment.databases if segment.transactional else ():
        await sessions[name].connection.begin()
    for step in segment.actions:
        assert isinstance(step, Step)
        name = step.database
        await InTurns(sessions[name].connection.run_sync(runners[name].run, step, at[name]))
        at[name] = step.heads_after(runners[name].graph, at[name])
    for name in segment.databases if segment.transactional else ():
        await sessions[name].connection.commit()


@pytest.fixture(scope="module")
def databases(server: Server) -> Iterator[Databases]:
    """One pair for all cases, emptied before each."""
    pair = Databases(server)
    run(pair.create())
    yield pair
    run(pair.drop())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_example_ends_as_its_record_says(case: Case, databases: Databases, tmp_path: Path) -> None:
    ending = run(carry_out(case, databases, tmp_path))
    assert ending.error == case.fails
    waits = [text for watch in ending.watches.values() for text in watch.waits]
    if case.name == "good":
        assert waits == []
        assert ending.copied == set()
    elif case.hazard.kind in _SAID_OF:
        assert re.search(_SAID_OF[case.hazard.kind], ending.said) or ending.copied
        assert waits or case.hazard.id == "CM069"
