"""wait ends when its time is over, whatever the servers do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.deployments import RUNS, STEPS, Answer, environment, invoke
from tests.servers import Databases, run

_GRACE = 2.0
"""Seconds that a loaded machine may take longer."""


@contextmanager
def _silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"postgresql://a:b@127.0.0.1:{listening.getsockname()[1]}/d"


def timed(seconds: float) -> tuple[Answer, float]:
    started = time.monotonic()
    answer = invoke(["wait", "--timeout", str(seconds)])
    return answer, time.monotonic() - started


@pytest.fixture(autouse=True)
def _urls(migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url in environment(migrated_databases).items():
        monkeypatch.setenv(name, url)
    assert invoke(["wait", "--timeout", "60"]).status == 0


@pytest.mark.thorough
@pytest.mark.parametrize("seconds", [0, 3])
def test_server_that_never_answers(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    with _silent_server() as url:
        monkeypatch.setenv("CREDS_DATABASE_URL", url)
        answer, took = timed(seconds)
    assert answer.status == 9, answer
    assert "credentials: no answer from" in answer.everything
    assert seconds <= took < max(seconds, 1) + _GRACE


@pytest.mark.thorough
@pytest.mark.parametrize("table", ["alembic_version", RUNS])
def test_locked_table(migrated_databases: Databases, table: str) -> None:
    async def scenario() -> tuple[Answer, float]:
        async with migrated_databases.connect("main") as connection, connection.transaction():
            await connection.execute(f"LOCK TABLE {table}")
            return await asyncio.to_thread(timed, 2)

    answer, took = run(scenario())
    assert answer.status == 9, answer
    assert 2 <= took < 2 + _GRACE


def test_revisions_that_stay_pending(migrated_databases: Databases) -> None:
    async def scenario() -> None:
        async with migrated_databases.connect("main") as connection:
            await connection.execute("UPDATE alembic_version SET version_num = 'dca7825748db'")
            await connection.execute(f"DELETE FROM {STEPS}")  # or the journal contradicts

    run(scenario())
    answer, took = timed(2)
    assert answer.status == 3, answer
    assert 2 <= took < 2 + _GRACE
