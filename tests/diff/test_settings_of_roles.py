"""Settings of roles and databases: copied as values, whatever their text, and used where revisions run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from circle_migrate.postgres.create_database import create_like
from circle_migrate.postgres.database import Database
from circle_migrate.postgres.identifier import literal, unquote
from circle_migrate.postgres.search_path import PINNED
from tests.deployments import environment, execute, invoke
from tests.projects import Project
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


@pytest.mark.thorough
def test_settings_that_decide_what_revisions_mean_are_no_drift(
    empty_databases: Databases, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revisions have literals that the settings of the live database read in another way."""
    project = Project(project_folder)
    project.write_settings()
    columns = "at timestamptz DEFAULT '2024-01-01 00:00', ago interval DEFAULT '-1 day 02:03'"
    columns += r", day date DEFAULT '02/01/2024', path text DEFAULT 'a\\b', flag bool DEFAULT (NULL = NULL)"
    create = rf"""op.execute(r"CREATE TABLE t ({columns})")"""
    project.revision("main", "m1", None, create, 'op.execute("DROP TABLE t")')
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    settings = {
        "timezone": "Asia/Kathmandu",
        "intervalstyle": "sql_standard",
        "datestyle": "SQL, DMY",
        "standard_conforming_strings": "off",
        "transform_null_equals": "on",
    }
    alter = f"ALTER DATABASE {empty_databases.names['main']} SET"
    statements = [f"{alter} {name} = '{value}'" for name, value in settings.items()]
    run(execute(empty_databases, "main", *statements))
    assert invoke(["upgrade", "-d", "main"]).status == 0
    connect, addresses = Database.connect, []

    async def recording(database: Database, *names: str, **options: Any) -> asyncpg.Connection:
        addresses.append(database.address.database)
        return await connect(database, *names, **options)

    monkeypatch.setattr(Database, "connect", recording)
    answer = invoke(["diff", "-d", "main", "--format", "json"])
    assert answer.status == 0, answer.stdout
    # The catalog with the settings, and whether the scratch server is that of the database.
    assert addresses.count(empty_databases.names["main"]) == 2
    found = [finding["subject"] for finding in json.loads(answer.stdout)["findings"]]
    assert {subject.casefold() for subject in found} == {f"setting database.{name}" for name in settings}
