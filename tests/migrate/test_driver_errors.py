"""Errors that the driver raises itself, and SQL that is written for another driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployments import environment, invoke, project_folder
from tests.projects import Project
from tests.servers import Databases, run

__all__ = ["project_folder"]


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings()
    columns = "n int, v text, d date, t timestamp, j jsonb, u uuid"
    project.revision("main", "m1", None, f'op.execute("CREATE TABLE t ({columns})")', "pass")
    return project


def bound(column: str, value: str) -> str:
    return f'op.get_bind().execute(sa.text("INSERT INTO t ({column}) VALUES (:x)"), {{"x": {value}}})'


TEXT = "which is of type str; to let the server convert it"
DRIVER = [
    (
        bound("d", "'2024-01-31'"),
        "argument $1: 'str' object has no attribute 'toordinal'",
        f"asyncpg takes datetime.date for argument $1, {TEXT}",
    ),
    (
        bound("n", "'12345'"),
        "argument $1: 'str' object cannot be interpreted as an integer",
        f"asyncpg takes int for argument $1, {TEXT}",
    ),
    (bound("v", "12345"), "argument $1: expected str, got int", "argument $1, which is of type int\n"),
    (bound("j", "{'key': 12345}"), "argument $1: ", "json.dumps"),
    (bound("u", "'Sesame-7'"), "argument $1: invalid UUID '…'", "takes uuid.UUID for argument $1"),
    (
        bound("t", "__import__('datetime').datetime.now().astimezone()"),
        "argument $1: can't subtract offset-naive and offset-aware datetimes",
        "without time zone for timestamp",
    ),
    (
        bound("n", "12345 * 10**9"),
        "argument $1: value out of int32 range",
        "takes an int that fits the column",
    ),
    (
        'rows = [{"v": "a", "n": 1}, {"v": "b", "n": "12345"}]\nop.bulk_insert(TABLE, rows)',
        "argument $2 in element #1: 'str' object cannot be interpreted",
        "takes int for argument $2 in element #1, which is of type str",
    ),
    ('op.get_bind().exec_driver_sql("SELECT $1::int", (1, 2))', "expects 1 argument", "correct the cause"),
]
SERVER = [
    ('op.get_bind().exec_driver_sql("INSERT INTO t (n) VALUES (%s)", (5,))', "write $1, $2"),
    ('op.get_bind().execute(sa.text("SELECT 1 FROM t WHERE n IN :x"), {"x": [1]})', "expanding=True"),
    ('op.get_bind().execute(sa.text("INSERT INTO t (n) VALUES (:x); SELECT 1"), {"x": 1})', "by itself"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("body", "message", "hint"), DRIVER)
def test_errors_of_the_driver(project: Project, body: str, message: str, hint: str) -> None:
    table = 'TABLE = sa.table("t", sa.column("v", sa.Text), sa.column("n", sa.Integer))'
    project.revision("main", "m2", "m1", body, "pass", more=table)
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 10, done.stderr
    (driver,) = [line for line in done.stderr.splitlines() if line.startswith("  driver ")]
    assert "asyncpg: " in driver
    assert message in driver
    assert hint in done.stderr
    for value in ("12345", "2024", "Sesame"):
        assert value not in done.stderr
    assert "12345" not in invoke(["safety-check", "-d", "main"]).everything


@pytest.mark.parametrize(("body", "hint"), SERVER)
def test_what_the_server_refuses_because_of_the_driver(project: Project, body: str, hint: str) -> None:
    project.revision("main", "m2", "m1", body, "pass")
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 10, done.stderr
    assert "  server " in done.stderr
    assert hint in done.stderr


@pytest.mark.parametrize(
    "sql",
    [
        "COPY t FROM STDIN",
        pytest.param('copy public."t" (v, n)\nfrom stdin with (format csv)', marks=pytest.mark.thorough),
        "SELECT 1; COPY t FROM /* no */ stdin; SELECT 2",
    ],
)
def test_copy_without_rows_does_not_wait_for_them(project: Project, sql: str) -> None:
    project.revision("main", "m2", "m1", f"op.execute({sql!r})", "pass")
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 10, done.stderr
    assert "copy_to_table" in done.stderr
    assert invoke(["safety-check", "-d", "main"]).status == 5


def test_words_of_copy_are_no_statement(project: Project) -> None:
    texts = ["INSERT INTO t (v) VALUES ('copy t from stdin')", "COPY (SELECT 'from stdin') TO STDOUT"]
    project.revision("main", "m2", "m1", "\n".join(f"op.execute({sql!r})" for sql in texts), "pass")
    assert invoke(["upgrade", "-d", "main"]).status == 0


def test_long_message_is_cut(project: Project) -> None:
    body = """op.execute("INSERT INTO t (n) VALUES ('" + "word " * 9_000 + "')")"""
    project.revision("main", "m2", "m1", body, "pass")
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 10
    assert 'type integer: "word word' in done.stderr
    assert "SQLSTATE 22P02" in done.stderr
    assert len(done.stderr) < 4000


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ("op.get_bind().exec_driver_sql(\"INSERT INTO t (v) VALUES ('50%% of 100%%')\")", "50% of 100%"),
        ("op.get_bind().exec_driver_sql(\"INSERT INTO t (v) VALUES ('%%%%'); SELECT 1\")", "%%"),
        ("op.get_bind().exec_driver_sql(\"INSERT INTO t (v) SELECT format('%s%%', 5)\")", "5%"),
        ("op.get_bind().exec_driver_sql(\"INSERT INTO t (v) VALUES ('%%' || $1)\", ('x',))", "%%x"),
        ("op.execute(\"INSERT INTO t (v) VALUES ('100%%'); SELECT 1\")", "100%%"),
        ("op.execute(sa.text(\"INSERT INTO t (v) VALUES ('100%%')\"))", "100%%"),
    ],
)
def test_doubled_percents(project: Project, empty_databases: Databases, body: str, stored: str) -> None:
    """In driver SQL without parameters they are single ones, as with psycopg; elsewhere they stay."""
    again = f"found = op.get_bind().scalar(sa.text('SELECT v FROM t'))\nassert found == {stored!r}, found"
    project.revision("main", "m2", "m1", f"{body}\n{again}", "pass")
    assert invoke(["safety-check", "-d", "main"]).status == 0  # the trace sends statement by statement
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 0, done.stderr

    async def value() -> object:
        async with empty_databases.connect("main") as connection:
            return await connection.fetchval("SELECT v FROM t")

    assert run(value()) == stored
