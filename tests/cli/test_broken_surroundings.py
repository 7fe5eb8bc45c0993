"""A full disk, a deleted folder, damaged files and a version table of somebody else are named errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke
from tests.projects import Project
from tests.servers import Databases, run

FULL = Path("/dev/full")


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(project_folder)
    project.write_settings()
    for name, letter in (("main", "m"), ("credentials", "c")):
        project.revision(name, f"{letter}1", None, "pass", "pass")
    for name, value in environment(empty_databases).items():
        monkeypatch.setenv(name, value)
    return project


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("heads --format json", 2, "cannot be written to stdout: No space left"),
        ("check", 3, "cannot be written to stdout: No space left"),
        ("upgrade nosuch --format json", 2, "nosuch"),
    ],
)
def test_full_stdout(project: Project, line: str, status: int, text: str) -> None:
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "circle_migrate", *line.split()]
        done = subprocess.run(
            command, cwd=project.folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == status, done.stderr
    assert text in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["status", "upgrade"])
def test_deleted_folder(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    answer = invoke([line])
    assert answer.status == 2, answer.everything
    assert "current folder was deleted" in answer.stderr


@pytest.mark.parametrize("line", ["status", "current", "check", "upgrade", "diff --drift"])
def test_version_table_with_null(project: Project, empty_databases: Databases, line: str) -> None:
    table = "CREATE TABLE alembic_version (version_num text, note text)"
    rows = "INSERT INTO alembic_version VALUES ('m1', 'a'), (NULL, 'b')"
    run(execute(empty_databases, "main", table, rows))
    answer = invoke(line.split())
    assert answer.status in {5, 7}, answer.everything
    assert "DELETE FROM" in answer.everything


_CAST = (
    "CREATE TYPE own AS ENUM ('m1')",
    "CREATE FUNCTION trap(own) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$",
    "CREATE CAST (own AS text) WITH FUNCTION trap(own)",
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            ["CREATE TABLE alembic_version AS SELECT g::text version_num FROM generate_series(1, 1000000) g"],
            "more than 1000 rows",
        ),
        (["CREATE TABLE alembic_version AS SELECT 1 AS version_num"], "no column version_num of a text type"),
        (["CREATE TABLE alembic_version (version text)"], "no column version_num of a text type"),
        (["CREATE SEQUENCE alembic_version"], "not an ordinary table"),
        (
            [*_CAST, "CREATE TABLE alembic_version AS SELECT 'm1'::own AS version_num"],
            "a type that a user created",
        ),
    ],
)
def test_version_table_of_somebody_else(
    project: Project, empty_databases: Databases, statements: list[str], words: str
) -> None:
    run(execute(empty_databases, "main", *statements))
    for line in ("status", "current", "check", "upgrade", "diff --drift", "stamp main@m1 --purge --yes"):
        answer = invoke(line.split())
        assert (answer.status, "trapped" in answer.everything) == (5, False), (line, answer)
        for text in (words, "version-table in"):
            assert text in " ".join(answer.everything.split()), (line, answer)


@pytest.mark.parametrize(
    "line",
    [
        "upgrade --plan f.json",
        "safety-check --baseline f.json",
        "safety-check --profile ci --stats f.json",
        "diff f.json live",
        "restore f.json",
    ],
)
@pytest.mark.parametrize("content", ['{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_nested_files(project: Project, line: str, content: str) -> None:
    (project.folder / "f.json").write_text(content, encoding="utf-8")
    answer = invoke(line.split())
    assert answer.status in {2, 5}, answer.everything
    assert "f.json" in answer.stderr


@pytest.mark.parametrize("value", ["(" * 5_000 + ")" * 5_000, "-" * 50_000 + "1", "+".join("1" * 50_000)])
def test_nested_revision(project: Project, value: str) -> None:
    path = project.revision("main", "m2", "m1", "pass", "pass")
    path.write_text(path.read_text(encoding="utf-8") + f"\nx = {value}\n", encoding="utf-8")
    answer = invoke(["check", "--files-only"])
    assert answer.status in {0, 5}, answer.everything
    assert "bug" not in answer.everything
