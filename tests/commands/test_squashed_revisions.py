"""Databases at every revision that a squashed one replaces, with the replaced files and without them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from circle_migrate.core.errors import ExitCode
from tests.deployments import RUNS, STEPS, catalogs, environment, execute, invoke, versions
from tests.projects import Project
from tests.servers import Databases, run

SETTINGS = '[tool.circle-migrate.databases.main]\nrevisions = "migrations/main"\n'
REPLACED = ("b2", "c3", "d4")
STEPS_OF = {
    "a1": ("CREATE TABLE a (id int PRIMARY KEY)", "DROP TABLE a"),
    "b2": ("CREATE TABLE b (id int PRIMARY KEY)", "DROP TABLE b"),
    "c3": ("ALTER TABLE b ADD COLUMN name text", "ALTER TABLE b DROP COLUMN name"),
    "d4": ("CREATE INDEX ix_b_name ON b (name)", "DROP INDEX ix_b_name"),
    "e5": ("CREATE TABLE e (id int)", "DROP TABLE e"),
}
AT_ONCE = (
    "CREATE TABLE b (id int PRIMARY KEY, name text); CREATE INDEX ix_b_name ON b (name)",
    "DROP TABLE b",
)


def add(project: Project, key: str, down: str | None, statements: tuple[str, str], more: str = "") -> Path:
    upgrade, downgrade = (f'op.execute("{sql}")' for sql in statements)
    return project.revision("main", key, down, upgrade, downgrade, more=more)


def squash(project: Project) -> None:
    """Write what `squash b2:d4` writes."""
    path = add(project, "s0", "a1", AT_ONCE, f"replaces = {REPLACED!r}")
    folder = project.versions("main") / "squashed"
    folder.mkdir()
    path.rename(folder / path.name)


def delete_replaced(project: Project) -> None:
    for key in REPLACED:
        (project.versions("main") / f"{key}.py").unlink()


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The revisions a1 to e5, not squashed yet."""
    monkeypatch.setenv("DATABASE_URL", environment(empty_databases)["DATABASE_URL"])
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings(SETTINGS)
    for down, key in zip((None, *STEPS_OF), STEPS_OF, strict=False):
        add(project, key, down, STEPS_OF[key])
    return project


def done(*arguments: str) -> str:
    answer = invoke(arguments)
    assert answer.status == ExitCode.DONE, answer.everything
    return answer.stdout


def rows(databases: Databases) -> list[str] | None:
    return run(versions(databases))["main"]


def journal(databases: Databases) -> str:
    """The steps of the last run."""

    async def read() -> str:
        async with databases.connect("main") as connection:
            found = await connection.fetch(
                f"SELECT direction, revision FROM {STEPS} WHERE run = (SELECT run FROM {RUNS} "
                "ORDER BY started_at DESC LIMIT 1) ORDER BY id"
            )
            return " ".join(f"{direction}:{revision}" for direction, revision in found)

    return run(read())


STARTS = [
    (None, "up:a1 up:s0 up:e5"),
    pytest.param("a1", "up:b2 up:c3 up:d4 stamp:s0 up:e5", marks=pytest.mark.thorough),
    ("c3", "up:d4 stamp:s0 up:e5"),
    pytest.param("d4", "stamp:s0 up:e5", marks=pytest.mark.thorough),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("start", "steps"), STARTS)
def test_every_database_comes_to_the_same_catalog(
    project: Project, empty_databases: Databases, start: str | None, steps: str
) -> None:
    done("upgrade")
    expected = run(catalogs(empty_databases))["main"]
    done("downgrade", start or "base", "-y", "--no-backup")
    if start is None:
        run(execute(empty_databases, "main", "DROP SCHEMA circle_migrate CASCADE"))
    squash(project)
    assert done("upgrade", "--dry-run").count("s0") >= 1
    assert invoke(["check"]).status == ExitCode.PENDING
    done("upgrade")
    assert (rows(empty_databases), journal(empty_databases)) == (["e5"], steps)
    assert run(catalogs(empty_databases))["main"] == expected
    delete_replaced(project)
    done("check", "--drift")
    assert "s0" in done("history")
    done("downgrade", "a1", "-y", "--no-backup")
    assert (rows(empty_databases), journal(empty_databases)) == (["a1"], "down:e5 down:s0")
    done("upgrade")
    assert (rows(empty_databases), journal(empty_databases)) == (["e5"], "up:s0 up:e5")
    assert run(catalogs(empty_databases))["main"] == expected
    done("check", "--drift")


@pytest.mark.thorough
@pytest.mark.parametrize("deleted", [False, True])
def test_a_database_at_the_last_replaced_revision_counts_as_at_the_squashed_one(
    project: Project, empty_databases: Databases, deleted: bool
) -> None:
    (project.versions("main") / "e5.py").unlink()
    done("upgrade")
    squash(project)
    if deleted:
        delete_replaced(project)
    status = json.loads(done("status", "--format", "json", "--exit-code"))
    assert status["databases"]["main"]["pending"] == []
    assert "the next run records s0" in " ".join(done("check").split())
    for arguments in (
        ["check", "--drift"],
        ["wait", "--timeout", "1"],
        ["diff"],
        ["diff", "revisions@d4", "live"],
        ["current"],
    ):
        done(*arguments)
    assert rows(empty_databases) == ["d4"]
    assert "takes the place of" in done("plan")
    done("upgrade")
    assert (rows(empty_databases), journal(empty_databases)) == (["s0"], "stamp:s0")
    assert "nothing" not in done("log")
    assert "already up to date" in done("upgrade")
    done("check", "--drift")


@pytest.mark.thorough
def test_a_database_inside_without_the_files(project: Project, empty_databases: Databases) -> None:
    done("upgrade", "c3")
    squash(project)
    delete_replaced(project)
    commands = (
        ["upgrade"],
        ["status", "--exit-code"],
        ["plan"],
        ["downgrade", "-1", "-y"],
        ["check"],
        ["wait", "--timeout", "1"],
    )
    for arguments in commands:
        answer = invoke(arguments)
        assert answer.status == ExitCode.AHEAD, (arguments, answer.everything)
        text = " ".join(answer.everything.split())
        assert "main is at c3, one of the revisions that s0 replaces, and the files of these are gone" in text
        assert "circle-migrate upgrade main@d4" in text
    assert rows(empty_databases) == ["c3"]


@pytest.mark.thorough
def test_targets_inside(project: Project, empty_databases: Databases) -> None:
    squash(project)
    done("upgrade", "c3")
    assert (rows(empty_databases), journal(empty_databases)) == (["c3"], "up:a1 up:b2 up:c3")
    listed = done("history", "--indicate-current")
    assert all(key in listed for key in (*REPLACED, "replaced by s0", "current"))
    assert "c3" not in done("history", "d4:")
    done("upgrade")
    assert not [key for key in REPLACED if key in done("history")]
    assert "replaced by s0" in done("show", "c3")
    done("downgrade", "c3", "-y", "--no-backup")
    assert (rows(empty_databases), journal(empty_databases)) == (["c3"], "down:e5 stamp:d4 down:d4")
    done("stamp", "d4", "-y")
    assert rows(empty_databases) == ["s0"]
    done("stamp", "c3", "-y")
    assert rows(empty_databases) == ["c3"]
    done("upgrade", "d4")
    assert (rows(empty_databases), journal(empty_databases)) == (["s0"], "up:d4 stamp:s0")
    assert "CREATE INDEX" in done("log", "--source", "d4")


SCRIPTS = [
    ("base:head", "UPDATE alembic_version SET version_num='s0' WHERE alembic_version.version_num = 'a1'"),
    pytest.param("c3:head", "INSERT INTO \"alembic_version\" VALUES ('s0')", marks=pytest.mark.thorough),
    ("d4:head", "DELETE FROM \"alembic_version\" WHERE version_num = 'd4'"),
    ("s0:head", "UPDATE alembic_version SET version_num='e5' WHERE alembic_version.version_num = 's0'"),
]


@pytest.mark.parametrize(("revision_range", "statement"), SCRIPTS)
def test_scripts(project: Project, empty_databases: Databases, revision_range: str, statement: str) -> None:
    squash(project)
    text = done("upgrade", "--sql", revision_range)
    assert statement in text
    low = revision_range.partition(":")[0]
    if low != "base":
        done("upgrade", low)
    if low == "d4":
        run(execute(empty_databases, "main", "UPDATE alembic_version SET version_num = 'd4'"))
    sent = [line for line in text.splitlines() if not line.startswith("\\")]
    run(execute(empty_databases, "main", "\n".join(sent)))
    assert rows(empty_databases) == ["e5"]
    done("check", "--drift")


@pytest.mark.thorough
def test_safety_losses_and_kept_rows(project: Project, empty_databases: Databases) -> None:
    done("upgrade", "c3")
    run(execute(empty_databases, "main", "INSERT INTO b VALUES (1, 'x')"))
    squash(project)
    report = json.loads(done("safety-check", "--format", "json"))
    assert report["coverage"]["revisions"] == 2
    done("upgrade")
    assert invoke(["downgrade", "a1", "--dry-run"]).stdout.count("b")
    done("downgrade", "a1", "-y", "--keep", "--no-backup")
    assert journal(empty_databases) == "down:e5 down:s0"
    assert "1 kept row restored" in done("upgrade")  # by the replaced files: the database is not empty
    assert journal(empty_databases) == "up:b2 up:c3 up:d4 stamp:s0 up:e5"
    done("downgrade", "base", "-y", "--keep", "--no-backup")
    assert "1 kept row restored" in done("upgrade")
    assert journal(empty_databases) == "up:a1 up:s0 up:e5"


@pytest.mark.thorough
def test_rows_kept_of_replaced_revisions(project: Project, empty_databases: Databases) -> None:
    done("upgrade", "c3")
    run(execute(empty_databases, "main", "INSERT INTO b VALUES (1, 'x')"))
    squash(project)
    done("downgrade", "base", "-y", "--keep", "--no-backup")
    assert journal(empty_databases) == "down:c3 down:b2 down:a1"
    assert "1 kept row restored" in done("upgrade")
    assert journal(empty_databases) == "up:a1 up:s0 up:e5"

    async def read() -> list[tuple[object, ...]]:
        async with empty_databases.connect("main") as connection:
            return [tuple(row) for row in await connection.fetch("TABLE b")]

    assert run(read()) == [(1, "x")]


@pytest.mark.thorough
def test_back_to_a_run_before_the_squash(project: Project, empty_databases: Databases) -> None:
    done("upgrade", "c3")
    first = json.loads(done("log", "--format", "json"))["runs"][0]["run"]
    done("upgrade", "d4")
    squash(project)
    done("upgrade")
    done("downgrade", "--to-run", first, "-y", "--no-backup")
    assert rows(empty_databases) == ["c3"]


def test_new_revisions_follow_the_last_replaced_one_while_it_has_a_file(
    project: Project, empty_databases: Databases
) -> None:
    (project.versions("main") / "e5.py").unlink()
    squash(project)
    done("revision", "-m", "next", "--rev-id", "f6")
    path = project.versions("main") / "f6_next.py"
    assert 'down_revision = "d4"' in path.read_text(encoding="utf-8")
    delete_replaced(project)
    done("revision", "-m", "last", "--rev-id", "g7")
    path.write_text(path.read_text(encoding="utf-8").replace("d4", "s0"), encoding="utf-8")
    done("revision", "-m", "more", "--rev-id", "h8")
    done("upgrade")
    assert rows(empty_databases) == ["h8"]


def alembic_config(project: Project, databases: Databases) -> Config:
    """The configuration of plain Alembic, with an env.py that it can run."""
    (project.folder / "migrations/main/env.py").write_text(
        "from alembic import context\nfrom sqlalchemy import NullPool, create_engine\n"
        "url = context.config.get_main_option('sqlalchemy.url')\n"
        "with create_engine(url, poolclass=NullPool).connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n",
        encoding="utf-8",
    )
    config = Config()
    config.set_main_option("script_location", str(project.folder / "migrations/main"))
    url = environment(databases)["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def test_plain_alembic_reads_the_replaced_files_and_then_the_squashed_one(
    project: Project, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits within a second
    squash(project)
    config = alembic_config(project, empty_databases)
    assert ScriptDirectory.from_config(config).get_heads() == ["e5"]
    command.upgrade(config, "c3")
    done("upgrade")  # ours goes on, and plain Alembic after it
    command.downgrade(config, "d4")
    command.upgrade(config, "head")
    done("check", "--drift")
    # What docs/squash.md says to do at the end.
    delete_replaced(project)
    folder = project.versions("main")
    (folder / "squashed" / "s0.py").rename(folder / "s0.py")
    follower = folder / "e5.py"
    follower.write_text(follower.read_text(encoding="utf-8").replace("'d4'", "'s0'"), encoding="utf-8")
    done("check", "--drift")  # the file of the applied e5 counts as unchanged
    assert ScriptDirectory.from_config(config).get_heads() == ["e5"]
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    assert rows(empty_databases) == ["e5"]


def test_json_has_what_a_revision_replaces(project: Project) -> None:
    squash(project)
    listed: dict[str, Any] = json.loads(done("history", "--format", "json"))
    by_id = {entry["revision"]: entry for entry in listed["databases"]["main"]}
    assert list(by_id) == ["e5", "s0", "a1"]
    assert (by_id["s0"]["replaces"], by_id["s0"]["marks"]) == (list(REPLACED), ["replaces 3"])
    assert by_id["e5"]["down_revision"] == ["s0"]
    drawn = done("graph", "revisions")
    assert drawn.count("-->") == 2
