"""Functions that another role has written never run with the rights of the role that runs a command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.deployments import environment, execute, invoke
from tests.projects import Project
from tests.servers import Databases, any_major, run, start_binaries

# A function that is not volatile cannot write, but one that it calls can.
OBJECTS = """
CREATE FUNCTION public.raise_rights() RETURNS int LANGUAGE plpgsql AS $$
BEGIN EXECUTE 'ALTER ROLE {eve} CREATEDB'; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 1; END $$;
CREATE FUNCTION public.trap(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN PERFORM public.raise_rights(); RETURN 1; END $$;
CREATE VIEW public.people AS SELECT public.trap(1) AS id;
CREATE MATERIALIZED VIEW public.numbers AS SELECT public.trap(1) AS id;
CREATE TABLE public.checked (id int CHECK (public.trap(id) = 1), CHECK (public.trap(1) = 1));
"""
SETTINGS = """
[tool.circle-migrate]
relations = "shop.relations:RELATIONS"
[tool.circle-migrate.databases.main]
revisions = "migrations/main"
[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
"""


@pytest.fixture
def eve(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role whose view has the name of a table that a pending revision creates."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    project = Project(project_folder)
    project.write_settings(SETTINGS)
    project.write(
        "shop/relations.py",
        """
        from circle_migrate.config.relation import Relation
        RELATIONS = (Relation("people", left="main.people.id", right="credentials.logins.id"),)
        """,
    )
    project.revision("main", "m1", None, 'op.execute("CREATE TABLE people (id int)")', "pass")
    table = 'op.execute("CREATE TABLE logins (id int)")'
    project.revision("credentials", "c1", None, table, "pass")
    assert invoke(["upgrade", "-d", "credentials"]).status == 0
    role = f"eve_{empty_databases.names['main']}"
    grant = f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role};"
    run(execute(empty_databases, "main", grant + OBJECTS.replace("{eve}", role)))
    yield role
    run(execute(empty_databases, "main", f"DROP OWNED BY {role}; DROP ROLE {role}"))


async def may_create_databases(url: str, role: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT rolcreatedb FROM pg_roles WHERE rolname = $1", role)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("consistency", "run functions of another role: public.people"),
        ("check --consistency --no-pending", "run functions of another role: public.people"),
        (
            "diff -d main --format sql",
            "it could run what another role has written: function public.raise_rights()",
        ),
        pytest.param("diff -d main --format alembic", "NOT TRIED", marks=pytest.mark.thorough),
        pytest.param("safety-check", "", marks=pytest.mark.thorough),
    ],
)
def test_functions_do_not_run_with_the_rights_of_the_command(
    eve: str, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    answer = invoke(command.split())
    assert words.format(eve=eve) in answer.everything, answer
    assert run(may_create_databases(empty_databases.server.admin_url, eve)) is False


@pytest.mark.thorough
def test_backup_without_the_role_on_the_scratch_server(
    eve: str, empty_databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dump is restored without owners, so its functions would run as the role of the scratch server."""
    with start_binaries(any_major()) as (_, url):
        monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", url)
        head = f"SET check_function_bodies = off; SET ROLE {eve}; CREATE OR REPLACE FUNCTION"
        trap = f"{head} public.raise_rights() RETURNS int LANGUAGE sql AS 'SELECT public.missing()'"
        run(execute(empty_databases, "main", trap))
        answer = invoke(["backup", str(tmp_path)])
    assert answer.status == 0, answer.stderr
    assert (
        f'was not verified: the server for scratch databases lacks something: role "{eve}"' in answer.stdout
    )
