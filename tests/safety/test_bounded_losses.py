"""The questions that a downgrade asks live tables have time limits, and share connections."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from circle_migrate.config.relation import Relation
from circle_migrate.core.errors import Refused
from circle_migrate.safety.losses.growth_guard import ensure_restorable
from circle_migrate.safety.losses.predict import with_cross_database_rows
from circle_migrate.safety.losses.report import Effect, Loss
from tests.deployments import deployment, execute
from tests.servers import Databases, run


def _report(loss: Loss) -> Any:
    """What `ensure_restorable` reads of a report."""
    return SimpleNamespace(plan=SimpleNamespace(databases=("main",)), destroyed=(loss,))


@pytest.mark.parametrize("lock", ["ACCESS EXCLUSIVE", None])
def test_locked_table_without_a_key(empty_databases: Databases, lock: str | None) -> None:
    run(execute(empty_databases, "main", "CREATE TABLE keyless (a int, b int)"))
    report = _report(Loss("main", "column", "main.keyless.b", "public.keyless.b", Effect.DROPPED))

    async def scenario() -> None:
        async with empty_databases.connect("main") as connection, connection.transaction():
            if lock:
                await connection.execute(f"LOCK TABLE keyless IN {lock} MODE")
            await ensure_restorable(deployment(empty_databases), report)

    if not lock:
        run(scenario())
        return
    started = time.monotonic()
    with pytest.raises(Refused, match="cannot be read") as caught:
        run(scenario())
    assert "locked the table" in str(caught.value.detail)
    assert time.monotonic() - started < 10


def test_related_columns_share_a_connection(
    empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [f"t{number}" for number in range(4)]
    for table in tables:
        run(execute(empty_databases, "credentials", f"CREATE TABLE {table} AS SELECT 1 AS id"))
    run(execute(empty_databases, "credentials", "ALTER TABLE t1 ALTER id TYPE numeric"))
    relations = [Relation(table, left="main.users.id", right=f"credentials.{table}.id") for table in tables]
    loss = Loss("main", "table", "main.users", "public.users", Effect.DROPPED)
    connections = []
    connect = asyncpg.connect

    async def counting(**arguments: object) -> asyncpg.Connection:
        connections.append(arguments)
        return await connect(**arguments)

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg, "connect", counting)
        (result,) = run(with_cross_database_rows(deployment(empty_databases), relations, [loss]))
    counts = {rows.column: rows.rows and rows.rows.value for rows in result.dependents}
    assert counts == {f"credentials.{table}.id": None if table == "t1" else 1 for table in tables}
    assert len(connections) == 1
