"""A full disk, a deleted folder, damaged files and a version table of somebody else are named errors."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from circle_migrate.core import json_file
from circle_migrate.diff.expected import snapshot_file
from tests.deployments import environment, execute, invoke
from tests.faults.states import rows
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
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    return project


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("heads --format json", 2, "cannot be written to stdout: No space left"),
        ("check", 3, "cannot be written to stdout: No space left"),
        ("upgrade nosuch --format json", 2, "nosuch"),
        ("--version", 2, "No space left on device"),
        ("status --help", 2, "No space left on device"),
        pytest.param("help exit-codes", 2, "No space left on device", marks=pytest.mark.thorough),
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


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("heads --format json", "cannot be written to stdout: Bad file descriptor"),
        ("upgrade -d main", "the command has done its work, with exit status 0; its output is lost"),
        ("--version", "Bad file descriptor"),
        pytest.param("status --help", "Bad file descriptor", marks=pytest.mark.thorough),
    ],
)
def test_closed_stdout(project: Project, empty_databases: Databases, line: str, text: str) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "circle_migrate", *line.split()]
    done = subprocess.run(command, cwd=project.folder, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    if "upgrade" in line:
        version_rows = run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version"))
        assert version_rows == [("m1",)]


@pytest.mark.parametrize(
    "line",
    ["--help", pytest.param("upgrade --help", marks=pytest.mark.thorough), "help exit-codes", "--version"],
)
def test_help_for_a_reader_that_has_gone(tmp_path: Path, line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "circle_migrate", *line.split()]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("line", ["status", "upgrade"])
def test_deleted_folder(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    answer = invoke([line])
    assert answer.status == 2, answer.everything
    assert "current folder was deleted" in answer.stderr


def test_version_table_with_null(project: Project, empty_databases: Databases) -> None:
    table = "CREATE TABLE alembic_version (version_num text, note text)"
    rows = "INSERT INTO alembic_version VALUES ('m1', 'a'), (NULL, 'b')"
    run(execute(empty_databases, "main", table, rows))
    for line in ("status", "current", "check", "upgrade", "diff --drift"):
        answer = invoke(line.split())
        assert answer.status in {5, 7}, answer.everything
        assert "DELETE FROM" in answer.everything, line


_CAST = (
    "CREATE TYPE own AS ENUM ('m1')",
    "CREATE FUNCTION trap(own) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$",
    "CREATE CAST (own AS text) WITH FUNCTION trap(own)",
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (
            ["CREATE TABLE alembic_version AS SELECT g::text version_num FROM generate_series(1, 999999) g"],
            "more than 1000 rows",
        ),
        (["CREATE TABLE alembic_version AS SELECT 1 AS version_num"], "no column version_num of a text type"),
        pytest.param(
            ["CREATE TABLE alembic_version (version text)"],
            "no column version_num of a text type",
            marks=pytest.mark.thorough,
        ),
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


@pytest.mark.parametrize("content", ['{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_nested_files(project: Project, content: str) -> None:
    (project.folder / "f.json").write_text(content, encoding="utf-8")
    for line in (
        "upgrade --plan f.json",
        "safety-check --baseline f.json",
        "safety-check --profile ci --stats f.json",
        "diff f.json live",
        "restore f.json",
    ):
        answer = invoke(line.split())
        assert answer.status in {2, 5}, answer.everything
        assert "f.json" in answer.stderr, line


@pytest.mark.thorough
@pytest.mark.parametrize(
    "line",
    [
        "upgrade --plan f.json",
        "safety-check --baseline f.json",
        "safety-check --profile ci --stats f.json --base HEAD",
        "diff f.json live",
        "restore f.json",
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"7" * 5000,
        b"\xff\xfe{",
        b"\x1f\x8b\x08\x00",
        gzip.compress(b"[" * 1_000_000),
        b'{"circle_migrate_plan": 1, "direction": "up", "targets": [], "cascade": false}',
        b'{"circle_migrate_plan": 1, "direction": "up", "targets": 7, "cascade": 0, "plan": [], "mode": 1}',
        b'{"kind": "circle-migrate statistics", "databases": {"main": {"server_version_num": 1e999}}}',
        b'{"kind": "circle-migrate safety baseline", "format": 1, "findings": {"a": 1}}',
        b'{"kind": "circle-migrate backup", "format": 1, "a": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"kind": "circle-migrate snapshot", "format": 1, "a": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=range(13),
)
def test_damaged_files(project: Project, line: str, content: bytes) -> None:
    (project.folder / "f.json").write_bytes(content)
    answer = invoke(line.split())
    assert answer.status in {2, 5}, answer.everything
    assert "f.json" in answer.stderr
    assert "bug" not in answer.stderr


@pytest.mark.parametrize("line", ["upgrade --plan {}", "diff {} live", "restore {}"])
def test_endless_files(project: Project, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(snapshot_file, "MAX_BYTES", 1 << 20)
    (project.folder / "bomb.json").write_bytes(gzip.compress(b" " * (1 << 22)))
    for file in ("/dev/zero", "bomb.json"):
        answer = invoke(line.format(file).split())
        assert answer.status in {2, 5}, answer.everything
        assert file in answer.stderr


@pytest.mark.parametrize("line", ["upgrade --plan {}", "safety-check --baseline {}", "restore {}"])
def test_pipe_without_a_writer(project: Project, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "_PIPE_SECONDS", 0.1)
    os.mkfifo(project.folder / "pipe")
    answer = invoke(line.format("pipe").split())
    assert answer.status == 2, answer.everything
    assert "pipe cannot be read" in answer.stderr
    assert "no process writes into the pipe" in answer.stderr


def test_pipe_with_a_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"(printf a; sleep 0.2; printf b) > {pipe}"]):
        assert json_file.read_bounded(pipe) == b"ab"


@contextmanager
def _no_room(size: int) -> Iterator[None]:
    """Let no file get larger than this, as on a full disk; other limits of the machine stay."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    "line",
    [
        ["revision", "-m", "a new one", "-d", "main"],
        ["plan", "-o", "kept"],
        ["stats", "-o", "kept"],
        ["snapshot", "-d", "main", "-o", "kept.json"],
        ["safety-check", "--baseline", "kept", "--write-baseline"],
        ["graph", "-o", "kept", "--as", "dot"],
    ],
    ids=lambda line: line[0],
)
def test_full_disk(project: Project, line: list[str]) -> None:
    for name in ("kept", "kept.json"):
        (project.folder / name).write_text("old", encoding="utf-8")
    before = {path: path.read_bytes() for path in sorted(project.folder.rglob("*")) if path.is_file()}
    with _no_room(8):
        answer = invoke(line)
    assert answer.status == 2, answer.everything
    assert "cannot be written" in answer.stderr
    assert "File too large" in answer.stderr
    after = {path: path.read_bytes() for path in sorted(project.folder.rglob("*")) if path.is_file()}
    assert {path.name: text for path, text in after.items() if "__pycache__" not in path.parts} == {
        path.name: text for path, text in before.items() if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("name", ["missing/folder/summary", "."])
@pytest.mark.parametrize(("line", "status"), [("check", 3), ("check --no-pending", 2)])
def test_unwritable_job_summary(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, line: str, status: int
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.folder / name))
    answer = invoke([*line.split(), "--format", "github"])
    assert answer.status == status, answer.everything
    assert "the job summary cannot be written to" in answer.stderr
    assert "bug" not in answer.stderr


def test_full_job_summary(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = project.folder / "summary"
    summary.write_text("of another step\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    with _no_room(100):
        answer = invoke(["check", "--no-pending", "--format", "github"])
    assert answer.status == 2, answer.everything
    assert summary.read_text(encoding="utf-8") == "of another step\n"


def test_output_to_a_link_or_pipe(project: Project) -> None:
    (project.folder / "real").write_text("old", encoding="utf-8")
    (project.folder / "link").symlink_to("real")
    assert invoke(["plan", "-q", "-o", "link"]).status == 0
    assert (project.folder / "link").is_symlink()
    assert "circle_migrate_plan" in (project.folder / "real").read_text(encoding="utf-8")
    assert invoke(["plan", "-q", "-o", "/dev/null"]).status == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("value", ["(" * 5_000 + ")" * 5_000, "-" * 50_000 + "1", "+".join("1" * 50_000)])
def test_nested_revision(project: Project, value: str) -> None:
    path = project.revision("main", "m2", "m1", "pass", "pass")
    path.write_text(path.read_text(encoding="utf-8") + f"\nx = {value}\n", encoding="utf-8")
    answer = invoke(["check", "--files-only"])
    assert answer.status in {0, 5}, answer.everything
    assert "bug" not in answer.everything
