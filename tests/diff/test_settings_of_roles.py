"""Settings that a role stores for itself are copied as values, whatever their text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import asyncpg
import pytest

from circle_migrate.postgres.create_database import create_like
from circle_migrate.postgres.identifier import literal, unquote
from circle_migrate.postgres.search_path import PINNED
from tests.deployments import environment, execute, invoke
from tests.servers import Databases, run

PATHS = ["public;ALTER/**/ROLE/**/{eve}/**/CREATEROLE", '"$user", "a""b, c", d;e']
NAME = "a$do$; ALTER ROLE {eve} CREATEDB; --"
SETTINGS = """
SELECT setconfig FROM pg_db_role_setting WHERE setrole <> 0
AND setdatabase = (SELECT oid FROM pg_database WHERE datname = $1)
"""


@pytest.fixture(params=PATHS)
def eve(
    request: pytest.FixtureRequest, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A role whose settings in the database contain SQL."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    database = empty_databases.names["main"]
    role, alter = f"eve_{database}", f"ALTER ROLE eve_{database} IN DATABASE {database} SET"
    path, name = (literal(text.replace("{eve}", role)) for text in (request.param, NAME))
    stored = f"SELECT set_config('search_path', {path}, false); {alter} search_path FROM CURRENT"
    run(execute(empty_databases, "main", f"CREATE ROLE {role}", f"{alter} application_name = {name}", stored))
    yield role
    run(execute(empty_databases, "main", f"DROP ROLE {role}"))


def test_settings_of_a_role_are_values(eve: str, empty_databases: Databases) -> None:
    live = empty_databases.names["main"]
    query = f"SELECT rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = '{eve}'"

    async def copy() -> tuple[bool, object]:
        connection = await asyncpg.connect(empty_databases.server.admin_url)
        try:
            await connection.execute(PINNED)
            await create_like(connection, live, f"{live}_copy")
            copied, stored = [await settings(connection, name) for name in (f"{live}_copy", live)]
            await connection.execute(f"DROP DATABASE {live}_copy")
            return copied == stored, await connection.fetchval(query)
        finally:
            await connection.close()

    async def apply() -> tuple[bool, object]:
        async with empty_databases.connect("main") as connection:
            stored = await settings(connection, live)
            await connection.execute(f"ALTER ROLE {eve} IN DATABASE {live} RESET ALL")
            for statement in statements:
                await connection.execute(statement)
            return await settings(connection, live) == stored, await connection.fetchval(query)

    assert run(copy()) == (True, False)
    answer = invoke(["diff", "revisions@current", "live", "-d", "main", "--format", "sql"])
    statements = [line for line in answer.stdout.splitlines() if line.startswith("DO ")]
    assert len(statements) == 2, answer
    assert run(apply()) == (True, False)


async def settings(connection: asyncpg.Connection, database: str) -> dict[str, list[str]]:
    """Return the settings of the role in a database by name, split at commas and without quotes."""
    stored = await connection.fetchval(SETTINGS, database)
    pairs = (text.split("=", 1) for text in stored)
    items = r'"(?:[^"]|"")*"|[^",\s]+'
    return {name: [unquote(item) for item in re.findall(items, value)] for name, value in pairs}
