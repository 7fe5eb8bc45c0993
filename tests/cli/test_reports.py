"""The files of --report."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from circle_migrate.core.errors import ExitCode
from tests.deployments import environment, invoke
from tests.servers import Databases


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_result_is_written_in_each_format(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment(migrated_databases).items():
        monkeypatch.setenv(name, value)
    files = ["json=out/check.json", "junit=out/check.xml", "markdown=check.md", "table=check.txt"]
    answer = invoke(["check", *(word for file in files for word in ("--report", file))])
    assert answer.status == 0
    assert answer.stdout == (tmp_path / "check.txt").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out/check.json").read_text(encoding="utf-8"))["command"] == "check"
    assert ET.parse(tmp_path / "out/check.xml").findall(".//testcase")
    assert (tmp_path / "check.md").read_text(encoding="utf-8").startswith("#")


@pytest.mark.thorough
def test_sketch_goes_to_a_file(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment(migrated_databases).items():
        monkeypatch.setenv(name, value)
    answer = invoke(["diff", "revisions@-1", "revisions", "-d", "main", "--report", "sql=sketch.sql"])
    assert answer.status == ExitCode.DRIFT
    on_stdout = invoke(["diff", "revisions@-1", "revisions", "-d", "main", "--format", "sql"]).stdout
    assert (tmp_path / "sketch.sql").read_text(encoding="utf-8") == on_stdout


def test_error_is_in_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "CREDS_DATABASE_URL"):
        monkeypatch.setenv(name, "postgresql://u:secret-word@127.0.0.1:1/d")
    files = ["--report", "junit=check.xml", "--report", "json=check.json", "--report", "table=check.txt"]
    answer = invoke(["check", *files])
    assert answer.status == ExitCode.UNREACHABLE
    for path in tmp_path.iterdir():
        assert "secret-word" not in path.read_text(encoding="utf-8")
    assert ET.parse(tmp_path / "check.xml").findall(".//error")
    assert json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))["exit_code"] == 9


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        (["junit"], "--report junit is not FORMAT=FILE"),
        (["junit="], "is not FORMAT=FILE"),
        (["xml=a.xml"], "formats: table, json, markdown, junit, sarif, github, gitlab"),
        (["json=a", "junit=./a"], "twice"),
        (["json=."], "it is a folder"),
        (["json=file/report.json"], "file is not a folder"),
    ],
)
def test_bad_report_is_refused_before_anything_else(
    reports: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for name in ("DATABASE_URL", "CREDS_DATABASE_URL"):  # an attempt to connect would end with 9
        monkeypatch.setenv(name, "postgresql://u@127.0.0.1:1/d")
    answer = invoke(["check", *(word for report in reports for word in ("--report", report))])
    assert answer.status == ExitCode.USAGE
    assert message in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_lost_file_ends_with_2_after_the_work(
    migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment(migrated_databases).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "full").symlink_to("/dev/full")
    answer = invoke(["plan", "--report", "json=full", "--report", "markdown=plan.md"])
    assert answer.status == ExitCode.USAGE
    assert "full cannot be written: No space left on device" in answer.stderr
    assert "the command has done its work" in answer.stderr
    assert answer.stdout
    assert (tmp_path / "plan.md").exists()
