"""Literals that stand for a secret, in statements and in the source of revisions, reach no output."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from circle_migrate.migrate.session import _blocker
from tests.deployments import environment, invoke, project_folder
from tests.faults.states import rows
from tests.projects import Project
from tests.servers import Databases, run

__all__ = ["project_folder"]

COMMANDS = ["safety-check", "upgrade", "upgrade --debug", "upgrade --format json", "log --format json"]
STATEMENTS = [
    "INSERT INTO nowhere (user_name, password) VALUES ('bob', 'Sesame')",
    "UPDATE nowhere SET password_hash = 'Sesame' WHERE id = 1",
    "SELECT nowhere(api_token => 'Sesame')",
    "COPY nowhere FROM PROGRAM 'curl -H \"Authorization: Bearer Sesame\" https://host'",
    "SELECT nowhere('https://host/path?id=1&token=Sesame')",
    "DO $$ BEGIN INSERT INTO nowhere (name, password) VALUES ('bob', 'Sesame'); END $$",
    "DO $$ BEGIN EXECUTE 'INSERT INTO nowhere (password) VALUES (''Sesame'')'; END $$",
    "SELECT 'Sesame'::json AS password",
    "UPDATE users SET number = CAST('Sesame' AS int) WHERE password IS NULL",
]
SOURCES = [
    'op.execute("ALTER ROLE nobody_here PASSWORD \'" + "Sesame\'")',
    "op.execute(\"ALTER ROLE nobody_here PASSWORD /* the second */ 'Sesame'\")",
    'op.execute(sa.text("SELECT 1 / 0, :pw").bindparams(pw="Sesame"))',
    'op.get_bind().execute(sa.text("SELECT 1 / 0, :p"), dict(p=str("Sesame")))  # the new password',
    "op.execute('ALTER ROLE nobody_here PASSWORD \\'%s\\'' % (\n    'Sesame'.missing,\n))",
    'login = dict(user="a", db_password="Sesame" + 1)',
]


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings()
    table = 'op.execute("CREATE TABLE users (number int, password text)")'
    project.revision("main", "m1", None, table, "pass")
    assert invoke(["upgrade", "-d", "main"]).status == 0
    return project


@pytest.mark.thorough
@pytest.mark.parametrize("body", [*(f"op.execute({text!r})" for text in STATEMENTS), *SOURCES])
def test_secret_of_a_failing_step(project: Project, empty_databases: Databases, body: str) -> None:
    project.revision("main", "m2", "m1", body, "pass")
    for line in COMMANDS:
        answer = invoke([*line.split(), "-d", "main"])
        assert "Sesame" not in answer.everything, line
    errors = "SELECT error FROM circle_migrate.runs WHERE error IS NOT NULL"
    error_rows = run(rows(empty_databases, "main", errors))
    assert error_rows
    assert "Sesame" not in str(error_rows)


@pytest.mark.thorough
def test_secret_of_an_edited_revision(project: Project) -> None:
    literals = ['    "ALTER ROLE a PASSWORD \'"', '    "Sesame\'"']
    body = ["op.execute(", *literals, "    if False else 'SELECT 1'", ")"]
    project.revision("main", "m2", "m1", "\n".join(body), "pass")
    assert invoke(["upgrade", "-d", "main"]).status == 0
    body[3] = body[3].replace("SELECT 1", "SELECT 2")
    project.revision("main", "m2", "m1", "\n".join(body), "pass")
    project.revision("main", "m3", "m2", "pass", "pass")
    for line in ("upgrade", "upgrade --format json", "upgrade --debug"):
        answer = invoke([*line.split(), "-d", "main"])
        assert answer.status == 5, answer
        assert "Sesame" not in answer.everything, line


def test_secret_in_the_journals_copy_of_a_revision(project: Project, empty_databases: Databases) -> None:
    body = "op.execute(\"SELECT set_config('app.api_key', 'Sesame', false)\")\nop.execute('SELECT 1')"
    project.revision("main", "m2", "m1", body, "pass")
    assert invoke(["upgrade", "-d", "main"]).status == 0
    source = "SELECT source FROM circle_migrate.steps WHERE revision = 'm2'"
    [(stored,)] = run(rows(empty_databases, "main", source))
    shown = invoke(["log", "--source", "m2"])
    assert "set_config('app.api_key', '***', false)" in stored
    assert "set_config('app.api_key', '***', false)" in shown.stdout, shown
    project.revision("main", "m2", "m1", body.replace("SELECT 1", "SELECT 2"), "pass")
    project.revision("main", "m3", "m2", "pass", "pass")
    answer = invoke(["upgrade", "-d", "main"])
    assert answer.status == 5
    changed = [line.strip()[:1] for line in answer.stderr.splitlines() if "op.execute" in line]
    assert changed.count("-") == changed.count("+") == 1, answer
    assert "Sesame" not in answer.everything


def test_source_in_the_journal_is_still_python(project: Project, empty_databases: Databases) -> None:
    harmless = "users = sa.table('users', sa.column('v'))\nprint(dict(password=users.c.v, token=op.f('ix')))"
    path = project.revision("main", "m2", "m1", harmless, "pass")
    project.revision("main", "m3", "m2", f"{harmless}\ndict(password='Sesame')", "pass")
    assert invoke(["upgrade", "-d", "main"]).status == 0
    assert invoke(["log", "--source", "m2"]).stdout == path.read_text()
    shown = invoke(["log", "--source", "m2", "--format", "json"])
    assert json.loads(shown.stdout)["source"] == path.read_text()
    text = invoke(["log", "--source", "m3"]).stdout
    assert (harmless.split("\n")[1] in text, "Sesame" in text) == (True, False)
    ast.parse(text)


def test_secret_in_the_statement_of_a_blocker() -> None:
    query = "UPDATE users\n  SET password_hash = 'Sesame"
    row = {"pid": 1, "role": "a", "application": "b", "state": "active", "seconds": None, "query": query}
    assert _blocker(row) == "pid 1 (a, b, active): UPDATE users SET password_hash = '***'"
