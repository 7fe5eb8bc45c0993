"""`squash`: the written revision leads to the catalog of those that it replaces; what it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from circle_migrate.core.errors import ExitCode
from tests.deployments import catalogs, environment, execute, invoke
from tests.projects import Project
from tests.servers import Databases, run

SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = "migrations/main"
[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
"""
_D4 = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW;END'; "
    "CREATE TRIGGER t BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION f(); "
    "CREATE VIEW v AS SELECT a FROM b; COMMENT ON TABLE b IS 'it''s b: 5 %'; ALTER TABLE a ADD CHECK (id > 0)"
)
_UNDO_D4 = (
    "ALTER TABLE a DROP CONSTRAINT a_id_check; COMMENT ON TABLE b IS NULL; "
    "DROP VIEW v; DROP TRIGGER t ON b; DROP FUNCTION f"
)
CHAIN = {
    "a1": ("CREATE TABLE a (id int PRIMARY KEY)", "DROP TABLE a"),
    "b2": (
        "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY, old text)",
        "DROP TABLE b; DROP TYPE mood",
    ),
    "c3": (
        "ALTER TABLE b DROP COLUMN old, ADD a int NOT NULL REFERENCES a, ADD COLUMN now mood DEFAULT 'good'",
        "ALTER TABLE b DROP COLUMN now, DROP COLUMN a, ADD COLUMN old text",
    ),
    "d4": (
        _D4,
        _UNDO_D4,
    ),
    "e5": ("CREATE TABLE e (id int)", "DROP TABLE e"),
}


def code(sql: str) -> str:
    return "\n".join(f"op.execute({part.strip()!r})" for part in sql.split("; "))


def add(project: Project, key: str, down: str | None, name: str = "main", **more: str) -> Path:
    upgrade, downgrade = CHAIN[key]
    return project.revision(name, key, down, code(upgrade), code(downgrade), **more)


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The revisions a1 to e5 in main, one in credentials."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings(SETTINGS)
    for down, key in zip((None, *CHAIN), CHAIN, strict=False):
        add(project, key, down)
    project.revision("credentials", "x1", None, code("CREATE TABLE x (id int)"), code("DROP TABLE x"))
    return project


def done(*arguments: str) -> str:
    answer = invoke(arguments)
    assert answer.status == ExitCode.DONE, answer.everything
    return answer.stdout


def squashed_files(project: Project) -> list[Path]:
    return sorted((project.versions("main") / "squashed").glob("*.py"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("revision_range", "downgraded"),
    [("base:d4", "base"), ("b2:main@d4", "a1"), ("main@c:head", "b2")],
)
def test_it_leads_to_the_same_catalog(
    project: Project, empty_databases: Databases, revision_range: str, downgraded: str
) -> None:
    done("upgrade")
    expected = run(catalogs(empty_databases))
    done("downgrade", f"main@{downgraded}", "-y", "--no-backup")
    before = run(catalogs(empty_databases))
    shown = done("squash", revision_range, "--dry-run")
    assert not squashed_files(project)
    assert "replaces = (" in shown
    result = json.loads(done("squash", revision_range, "-m", "All at once", "--format", "json"))
    (path,) = squashed_files(project)
    assert path.name == f"{result['revision']['revision']}_all_at_once.py"
    assert path.read_text(encoding="utf-8") == result["text"]
    assert "It does at once what the revisions do that it replaces" in result["text"]
    assert "plain Alembic does not read the folder squashed" in result["notes"][-1]
    for key in result["revision"]["replaces"]:
        (project.versions("main") / f"{key}.py").unlink()
    done("upgrade")
    assert run(catalogs(empty_databases)) == expected
    done("check", "--drift")
    done("downgrade", f"main@{downgraded}", "-y", "--no-backup")
    assert run(catalogs(empty_databases)) == before


@pytest.mark.thorough
def test_databases_with_the_replaced_revisions_match_the_squashed_one(
    project: Project, empty_databases: Databases
) -> None:
    done("upgrade", "main@d4")
    done("squash", "base:d4", "-d", "main")
    done("upgrade")
    done("check", "--drift", "-d", "main")


REFUSED = [
    ("b2", "'b2' is not a range", ExitCode.USAGE),
    ("d4:b2", "b2 does not come after d4", ExitCode.USAGE),
    ("c3:c3", "c3:c3 is one revision", ExitCode.USAGE),
    ("base:zz", "no database has a revision 'zz'", ExitCode.USAGE),
    ("base:head", "head is a revision of several databases", ExitCode.USAGE),
    ("a1:x1", "credentials has no revision 'a1'", ExitCode.USAGE),
]


def test_a_wrong_range(project: Project) -> None:
    for revision_range, message, status in REFUSED:
        answer = invoke(["squash", revision_range])
        assert (answer.status, message in answer.stderr) == (status, True), answer.everything


@pytest.mark.parametrize("revision_range", ["b2:c3", "b2:e5", "c3:c3"])
def test_a_range_that_is_replaced_already(project: Project, revision_range: str) -> None:
    project.revision("main", "s0", "a1", "pass", "pass", more='replaces = ("b2", "c3")')
    answer = invoke(["squash", revision_range])
    assert (answer.status, "main: s0 already replaces b2" in answer.stderr) == (5, True), answer.everything


CHANGED = [
    (
        {"key": "y2", "down": "x1", "name": "credentials", "more": 'requires = ("main@c3",)'},
        "credentials@y2 requires c3",
    ),
    ({"key": "f6", "down": "c3"}, "c3 is followed by f6, too"),
    ({"key": "c3", "down": "b2", "labels": "side"}, "c3 has the branch label side"),
    ({"key": "c3", "down": "b2", "depends_on": "a1"}, "c3 depends on a1"),
    ({"key": "e5", "down": "d4", "depends_on": "c3"}, "e5 depends on c3"),
    ({"key": "d4", "down": ("c3", "b2")}, "d4 is a merge"),
]


@pytest.mark.parametrize(("change", "message"), CHANGED)
def test_what_one_revision_cannot_replace(project: Project, change: dict[str, str], message: str) -> None:
    arguments = {"name": "main", **change}
    name, key, down = (arguments.pop(part) for part in ("name", "key", "down"))
    project.revision(name, key, down, "pass", "pass", **arguments)
    answer = invoke(["squash", "b2:d4", "-d", "main"])
    assert (answer.status, message in answer.stderr) == (ExitCode.REFUSED, True), answer.everything
    assert "nothing was changed" in answer.stderr
    assert not squashed_files(project)


DATA = [
    ("b2:d4", "UPDATE a SET id = id + 1", ExitCode.REFUSED, "a database before b2 may have rows"),
    (
        "a1:d4",
        "UPDATE a SET id = id + 1",
        ExitCode.DONE,
        "left out, as it writes no row in an empty database",
    ),
    ("a1:d4", "INSERT INTO a VALUES (7)", ExitCode.REFUSED, '"public"."a" (0 before, 1 after)'),
    ("a1:d4", "DO $$ BEGIN DELETE FROM a; END $$", ExitCode.DONE, "left out, as it writes no row"),
    (
        "a1:d4",
        "SELECT setval(pg_get_serial_sequence(\\'b\\', \\'id\\'), 7)",
        ExitCode.REFUSED,
        "0 before, 7 after",
    ),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("revision_range", "sql", "status", "message"), DATA)
def test_statements_that_write_rows(
    project: Project, revision_range: str, sql: str, status: ExitCode, message: str
) -> None:
    path = project.versions("main") / "d4.py"
    text = path.read_text(encoding="utf-8")
    line = text[: text.index("def upgrade")].count("\n") + 2
    path.write_text(
        text.replace("def upgrade():\n", f"def upgrade():\n    op.execute('{sql}')\n"), encoding="utf-8"
    )
    answer = invoke(["squash", revision_range])
    text = " ".join(answer.everything.split())
    assert (answer.status, message in text) == (status, True), answer.everything
    if "setval" not in sql:
        assert f"migrations/main/versions/d4.py:{line}: {sql}" in text
    assert len(squashed_files(project)) == (status is ExitCode.DONE)


@pytest.mark.thorough
def test_rows_that_code_reads(project: Project) -> None:
    path = project.versions("main") / "d4.py"
    loop = "    for row in op.get_bind().exec_driver_sql('SELECT id FROM a'):\n        print(row)\n"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("def upgrade():\n", f"def upgrade():\n{loop}"), encoding="utf-8")
    answer = invoke(["squash", "b2:d4"])
    assert (answer.status, "SELECT id FROM a" in answer.stderr) == (ExitCode.REFUSED, True), answer.everything


def test_a_wrong_proof_writes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from circle_migrate.commands.squash import squash as module

    original = module.body

    def without_index(*arguments: object) -> str:
        return original(*arguments).replace("good", "goad")

    monkeypatch.setattr(module, "body", without_index)
    answer = invoke(["squash", "base:d4", "-d", "main"])
    assert answer.status in (ExitCode.REFUSED, ExitCode.FAILED), answer.everything
    assert not squashed_files(project)


@pytest.mark.thorough
def test_irreversible_revisions_make_an_irreversible_one(project: Project) -> None:
    project.revision("main", "c3", "b2", "pass", "pass", more='irreversible = "rows are gone"')
    result = json.loads(done("squash", "a1:c3", "--format", "json"))
    assert result["revision"]["irreversible"] == "c3: rows are gone"
    key = result["revision"]["revision"]
    done("upgrade", key)
    assert "c3: rows are gone" in invoke(["downgrade", "main@base", "-y"]).stderr


@pytest.mark.thorough
def test_requirements_of_the_range_are_its_own(project: Project, empty_databases: Databases) -> None:
    path = project.versions("main") / "c3.py"
    path.write_text(path.read_text(encoding="utf-8") + '\nrequires = ("credentials@x1",)\n', encoding="utf-8")
    result = json.loads(done("squash", "a1:d4", "--format", "json"))
    assert result["revision"]["requires"] == ["credentials@x1"]
    done("upgrade")
    steps = json.loads(done("log", "--format", "json"))["runs"]
    assert {run["database"] for run in steps} == {"main", "credentials"}


@pytest.mark.thorough
def test_a_squashed_revision_can_be_squashed_again(project: Project, empty_databases: Databases) -> None:
    done("upgrade", "main@b2")
    done("squash", "a1:c3", "-m", "one")
    done("squash", "base:d4", "-d", "main", "-m", "two")
    assert len(squashed_files(project)) == 2
    done("upgrade", "-d", "main")
    done("check", "--drift", "-d", "main")
    run(execute(empty_databases, "main", "DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    run(execute(empty_databases, "main", "DROP SCHEMA circle_migrate CASCADE"))
    done("upgrade", "-d", "main")
    done("check", "--drift", "-d", "main")


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.thorough
def test_a_base_branch_without_it_accepts_it_and_the_deletion(project: Project) -> None:
    for arguments in (
        ["init", "-qb", "trunk"],
        ["add", "."],
        ["commit", "-qm", "base"],
        ["checkout", "-qb", "x"],
    ):
        git(project.folder, *arguments)
    key = json.loads(done("squash", "a1:d4", "--format", "json"))["revision"]["revision"]
    done("check", "--base", "trunk", "--files-only")
    for name in ("a1", "b2", "c3", "d4"):
        (project.versions("main") / f"{name}.py").unlink()
    done("check", "--base", "trunk", "--files-only")
    follower = project.versions("main") / "e5.py"
    text = follower.read_text(encoding="utf-8")
    follower.write_text(text.replace("'d4'", f"'{key}'"), encoding="utf-8")
    done("check", "--base", "trunk", "--files-only")
    follower.write_text(text + "# edited", encoding="utf-8")
    assert "e5, which trunk has, was edited" in invoke(["check", "--base", "trunk", "--files-only"]).stdout
