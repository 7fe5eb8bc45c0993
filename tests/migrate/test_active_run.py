"""How far a run is that has not ended, as other sessions see it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from circle_migrate.commands.status import status
from circle_migrate.migrate.active_run import active_run, step_name
from circle_migrate.migrate.journal_rows import JournalRun
from circle_migrate.postgres.deployer_lock import LockHolder
from tests.deployments import deployment
from tests.faults.processes import holding, started, until
from tests.projects import Project
from tests.servers import Databases, run

RUN = "25b30b16-0000-4000-8000-000000000000"
PLANNED = {"main": ["upgrade m1 One", "upgrade m2 Two"], "credentials": ["upgrade c1 One"]}
LOCK = "op.execute('SELECT pg_advisory_xact_lock(77)')"
WAITS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted"


def test_each_database_has_its_last_step_and_what_it_waits_for(
    empty_databases: Databases, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(project_folder)
    project.write_settings()
    project.revision("main", "m1", None, "op.execute('CREATE TABLE a ()')", "pass")
    project.revision("main", "m2", "m1", LOCK, "pass")
    project.revision("credentials", "c1", None, LOCK, "pass", more="requires = ('main@m2',)")
    monkeypatch.setenv("CIRCLE_MIGRATE_LOCK_TIMEOUT", "60")

    async def look() -> None:
        holds = "SELECT pg_advisory_xact_lock(77)"
        with started(empty_databases, project_folder, "upgrade") as process:
            async with holding(empty_databases, "credentials", holds):
                async with holding(empty_databases, "main", holds) as other:
                    process_id = other.get_server_pid()
                    await until(empty_databases, "main", WAITS)
                    first = await status(deployment(empty_databases))
                await until(empty_databases, "credentials", WAITS)
                second = await status(deployment(empty_databases))
            answer = process.end()
            assert answer.status == 0, answer
        seen = [
            (item.running.step, item.running.steps, item.running.action) if item.running else None
            for result in (first, second)
            for item in result.databases
        ]
        main = (2, 3, "upgrade m2 Revision m2")
        assert seen == [main, (None, 3, None), main, (3, 3, "upgrade c1 Revision c1")]
        running = first.databases[0].running
        assert running is not None
        assert (running.command, running.blocked_by) == ("upgrade", (process_id,))
        ended = await status(deployment(empty_databases))
        assert [item.running for item in ended.databases] == [None, None]

    run(look())


def holder(name: str | None) -> LockHolder:
    """The holder of the lock, with the name of its session."""
    return LockHolder(7, "role", name, None, 1.0)


def last(outcome: str = "started") -> JournalRun:
    """The last run of the journal."""
    now = datetime.now(UTC)
    texts = ("role", "user", "host", "1")
    return JournalRun("main", RUN, "upgrade", "serial", PLANNED, outcome, None, now, None, *texts)


@pytest.mark.parametrize(
    ("name", "outcome", "step", "action"),
    [
        (step_name(RUN, 2, 3, "m2"), "started", 2, "upgrade m2 Two"),
        (step_name(RUN, 2, 3, "unplanned"), "started", 2, "unplanned"),
        (step_name(RUN, 9, 3, "m2"), "started", None, None),
        (step_name("another-run", 2, 3, "m2"), "started", 0, None),
        (step_name(RUN, 2, 3, "m2"), "lost", 0, None),
        ("night shift", "started", 0, None),
        (None, "started", 0, None),
    ],
)
def test_the_name_of_a_session_is_not_trusted(
    name: str | None, outcome: str, step: int | None, action: str | None
) -> None:
    active = active_run(holder(name), last(outcome))
    assert (active.step if active else 0) == step
    assert (active.action if active else None) == action
    assert active_run(None, last()) is None
    assert active_run(holder(name), None) is None
