"""Steps of a database with `driver = "psycopg"`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from circle_migrate.core.errors import MissingDatabase
from circle_migrate.postgres.database import Database
from tests.deployments import deployment, environment, invoke, project_folder
from tests.faults.states import rows
from tests.projects import Project
from tests.servers import Databases, run

__all__ = ["project_folder"]

DECLARED = "transactional = False"
SETTING = '\n[tool.circle-migrate.databases.{}]\ndriver = "psycopg"\nrevisions = "migrations/{}"\n'


@pytest.fixture
def bare_project(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings("".join(SETTING.format(name, name) for name in ("main", "credentials")))
    return project


@pytest.fixture
def project(bare_project: Project) -> Project:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    return bare_project


def succeed(*arguments: str) -> str:
    answer = invoke(arguments)
    assert answer.status == 0, answer.stderr
    return answer.stdout


WRITTEN_FOR_PSYCOPG = """
connection = op.get_bind()
assert connection.dialect.driver == "psycopg"
op.execute("CREATE TABLE t (id int, v text, d date, j jsonb); INSERT INTO t VALUES (1, 'a%b')")
with connection.connection.cursor() as cursor:
    cursor.execute("INSERT INTO t (id, v, d) VALUES (%s, %s, %s)", (2, "100%", "2024-01-31"))
    cursor.executemany("INSERT INTO t (id, v) VALUES (%s, %s)", [(3, "c"), (4, "d")])
    cursor.execute(sql.SQL("ALTER TABLE {} ADD {} int").format(sql.Identifier("t"), sql.Identifier("n")))
    cursor.execute(b"SELECT v FROM t WHERE id = 3")
    assert cursor.fetchall() == [("c",)]
connection.exec_driver_sql("UPDATE t SET v = v || '%%' WHERE id = %s", (3,))
assert connection.exec_driver_sql("SELECT count(*) FROM t WHERE v LIKE 'a%%'").scalar() == 1
changed = {"j": "[1]", "d": "2024-02-01"}  # asyncpg takes no text for a date
connection.execute(sa.text("UPDATE t SET j = CAST(:j AS jsonb), d = :d WHERE id = 4"), changed)
assert connection.scalar(sa.text("SELECT count(*) FROM t WHERE id = ANY(:ids)"), {"ids": [1, 2]}) == 2

async def copy(driver):
    async with driver.cursor().copy("COPY t (id, v) FROM STDIN") as stream:
        await stream.write_row((5, "e"))
    await driver.execute("LISTEN changes")

connection.connection.dbapi_connection.run_async(copy)
"""


@pytest.mark.thorough
def test_revisions_written_for_psycopg(project: Project, empty_databases: Databases) -> None:
    down = 'op.get_bind().connection.cursor().execute("DROP TABLE t")'
    imports = "from psycopg import sql"
    project.revision("main", "m1", None, WRITTEN_FOR_PSYCOPG, down, imports=imports)
    project.revision("main", "m2", "m1", 'op.create_index("t_v", "t", ["v"])', 'op.drop_index("t_v")')
    succeed("upgrade")
    stored = run(rows(empty_databases, "main", "SELECT id, v, d::text, j::text FROM t ORDER BY id"))
    assert stored == [
        (1, "a%b", None, None),
        (2, "100%", "2024-01-31", None),
        (3, "c%", None, None),
        (4, "d", "2024-02-01", "[1]"),
        (5, "e", None, None),
    ]
    source = "SELECT source LIKE '%''%%''%' FROM circle_migrate.steps WHERE revision = 'm1'"
    assert run(rows(empty_databases, "main", source)) == [(True,)]
    succeed("downgrade", "main@base", "--yes", "--accept-loss", "main.t", "--no-backup")
    journal = "SELECT direction FROM circle_migrate.steps ORDER BY id"
    assert run(rows(empty_databases, "main", journal)) == [("up",), ("up",), ("down",), ("down",)]
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t')")) == [(None,)]


@pytest.mark.thorough
def test_downgrade_keeps_rows_and_the_upgrade_restores_them(
    project: Project, empty_databases: Databases
) -> None:
    project.revision("main", "m1", None, 'op.execute("CREATE TABLE t (id int PRIMARY KEY)")', "pass")
    add = 'op.execute("ALTER TABLE t ADD v text")'
    project.revision("main", "m2", "m1", add, 'op.execute("ALTER TABLE t DROP v")')
    succeed("upgrade")
    run(rows(empty_databases, "main", "INSERT INTO t VALUES (1, '5%'), (2, NULL) RETURNING id"))
    succeed("downgrade", "main@m1", "--yes", "--keep", "--no-backup")
    succeed("upgrade")
    assert run(rows(empty_databases, "main", "SELECT * FROM t ORDER BY id")) == [(1, "5%"), (2, None)]


@pytest.mark.thorough
def test_steps_in_autocommit_mode(project: Project, empty_databases: Databases) -> None:
    project.revision("main", "m1", None, 'op.execute("CREATE TABLE t (v text)")', "pass")
    body = """
op.create_index("t_v", "t", ["v"], postgresql_concurrently=True)
op.execute("VACUUM t")
op.execute("BEGIN; INSERT INTO t VALUES ('a'); COMMIT")
op.execute("SET statement_timeout = '1h'; SET search_path = pg_temp; SET ROLE pg_monitor")
"""
    project.revision("main", "m2", "m1", body, "pass", more=DECLARED)
    body = """
with op.get_context().autocommit_block():
    op.execute("REINDEX INDEX CONCURRENTLY t_v")
op.get_bind().commit()
settings = {"statement_timeout": "0", "lock_timeout": "4s", "search_path": "public"}
for name, value in settings.items():
    assert op.get_bind().exec_driver_sql(f"SHOW {name}").scalar() == value
assert op.get_bind().exec_driver_sql("SELECT current_user = session_user").scalar()
op.execute("INSERT INTO t VALUES ('b')")
"""
    project.revision("main", "m3", "m2", body, "pass", more=DECLARED)
    succeed("upgrade")
    assert run(rows(empty_databases, "main", "SELECT v FROM t ORDER BY v")) == [("a",), ("b",)]
    journal = "SELECT revision FROM circle_migrate.steps ORDER BY id"
    assert run(rows(empty_databases, "main", journal)) == [("m1",), ("m2",), ("m3",)]


@pytest.mark.thorough
@pytest.mark.parametrize("others_driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("fails", [False, True])
def test_atomic_commit(
    project: Project,
    empty_databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    others_driver: str,
    fails: bool,
) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_DRIVER", others_driver)
    project.revision("main", "m1", None, 'op.execute("CREATE TABLE t (id int)")', "pass")
    more = '; op.execute("LISTEN changes")' if fails else ""  # which PREPARE TRANSACTION refuses
    project.revision("credentials", "c1", None, f'op.execute("CREATE TABLE t (id int)"){more}', "pass")
    answer = invoke(["upgrade", "--atomic"])
    expected = (10, True) if fails else (0, False)
    assert (answer.status, "(SQLSTATE 0A000)" in answer.stderr) == expected, answer
    for name in ("main", "credentials"):
        assert run(rows(empty_databases, name, "SELECT to_regclass('t') IS NULL")) == [(fails,)]


COMMITS = """
async def commit(driver):
    await driver.commit()

op.execute("CREATE TABLE t (v text)")
op.get_bind().connection.dbapi_connection.run_async(commit)
op.execute("INSERT INTO t VALUES ('a')")
"""
FAILURES = [
    ('op.execute("SELECT 1/0")', 10, "division by zero (SQLSTATE 22012)"),
    ('op.execute("SELECT nosuch FROM pg_class")', 10, 'column "nosuch" does not exist (SQLSTATE 42703)'),
    ('op.get_bind().exec_driver_sql("SELECT $1::int", (1,))', 10, "psycopg: the query has 0 placeholders"),
    ('op.get_bind().connection.cursor().execute("COMMIT")', 5, "transactional = False"),
    ("op.get_bind().connection.commit()", 5, "transactional = False"),
    (COMMITS, 8, "these stay: CREATE TABLE t (v text)"),
    ('op.execute("SELECT pg_terminate_backend(pg_backend_pid())")', 9, "has lost its connection"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("body", "status", "text"), FAILURES)
def test_failures(project: Project, body: str, status: int, text: str) -> None:
    project.revision("main", "m1", None, body, "pass")
    answer = invoke(["upgrade", "--safety", "off"])
    assert (answer.status, text in answer.stderr) == (status, True), answer.stderr


@pytest.mark.thorough
def test_safety_check_runs_the_steps_on_psycopg(project: Project) -> None:
    body = 'op.get_bind().exec_driver_sql("CREATE TABLE t AS SELECT %s::int AS id", (1,))'
    project.revision("main", "m1", None, body, "pass")
    project.revision("main", "m2", "m1", 'op.execute("ALTER TABLE t ADD CHECK (id % 2 = 1)")', "pass")
    assert "2 revisions" in succeed("safety-check", "-d", "main")


@pytest.mark.thorough
def test_notices_are_shown(project: Project) -> None:
    project.revision("main", "m1", None, 'op.execute("DROP TABLE IF EXISTS t")', "pass")
    answer = invoke(["upgrade", "-v", "--safety", "off"])
    assert answer.stderr.count('main  NOTICE: table "t" does not exist, skipping') == 1, answer.stderr


async def open_session(database: Database) -> None:
    async with database.working("test", {}, pinned=True):
        pass


@pytest.mark.thorough
def test_refused_connection_is_named(project: Project, empty_databases: Databases) -> None:
    main = deployment(empty_databases).databases["main"]
    missing = main.settings.model_copy(
        update={"driver": "psycopg", "url": main.address.with_database("nosuch")}
    )
    with pytest.raises(MissingDatabase):
        run(open_session(Database(missing)))


@pytest.mark.thorough
def test_without_psycopg(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_project.revision("main", "m1", None, "pass", "pass")
    monkeypatch.delattr("circle_migrate.postgres.psycopg_driver", raising=False)
    monkeypatch.delitem(sys.modules, "circle_migrate.postgres.psycopg_driver", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    answer = invoke(["upgrade", "--safety", "off"])
    assert (answer.status, "pip install 'circle-migrate[psycopg]'" in answer.stderr) == (2, True), answer


@pytest.mark.thorough
def test_setting(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCLE_MIGRATE_CREDENTIALS_DRIVER", "asyncpg")
    shown = " ".join(succeed("config", "show").split())
    assert "databases.main.driver psycopg" in shown
    assert "databases.credentials.driver asyncpg" in shown
    monkeypatch.setenv("CIRCLE_MIGRATE_CREDENTIALS_DRIVER", "psycopg2")
    answer = invoke(["config", "show"])
    assert (answer.status, "CIRCLE_MIGRATE_CREDENTIALS_DRIVER" in answer.stderr) == (2, True), answer


@pytest.mark.thorough
def test_log_of_psycopg_is_not_on_the_terminal(project: Project) -> None:
    """A run that loses a server says so; what psycopg logs of its connection is no other result."""
    body = """
import logging
logging.getLogger("psycopg").warning("query cancellation failed")
logging.getLogger("application").warning("from the application")
"""
    project.revision("main", "m1", None, body, "pass")
    command = [sys.executable, "-m", "circle_migrate", "upgrade"]
    ended = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=True)
    assert "from the application" in ended.stderr
    assert "query cancellation failed" not in ended.stderr
