"""The file of --events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from circle_migrate.cli.event_log import EventLog
from circle_migrate.core.errors import ExitCode
from circle_migrate.core.events import Event, EventKind
from tests.deployments import environment, invoke
from tests.faults.shop import Shop
from tests.servers import Databases


def events(path: Path) -> list[dict[str, Any]]:
    """Return the events, which the schema allows."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    schema = json.loads(invoke(["schema", "events"]).stdout)
    for line in lines:
        jsonschema.validate(line, schema)
    return lines


@pytest.fixture
def databases(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Databases of commands in this process, whose current folder has a revision for each."""
    for name, value in environment(empty_databases).items():
        monkeypatch.setenv(name, value)
    shop = Shop(project_folder)
    for name, key in (("main", "m1"), ("credentials", "c1")):
        shop.add(name, key, None, [f"CREATE TABLE {key} ()"], [])
    return empty_databases


@pytest.mark.usefixtures("databases")
def test_run_writes_each_event(tmp_path: Path) -> None:
    path = tmp_path / "new/events.jsonl"
    assert invoke(["upgrade", "--quiet", "--events", str(path)]).status == 0
    written = events(path)
    assert [written[0]["kind"], written[-1]["kind"], written[-1]["exit_code"]] == ["begun", "ended", 0]
    planned = [event for event in written if event["kind"] == "planned"]
    done = [event for event in written if event["kind"] == "done"]
    assert [event["database"] for event in planned] == ["main", "credentials"]
    assert len(done) == sum(len(event["steps"]) for event in planned)
    assert {event["database"] for event in written if event["kind"] == "committed"} == {"main", "credentials"}


def test_error_is_the_last_event(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "CREDS_DATABASE_URL"):
        monkeypatch.setenv(name, "postgresql://u@127.0.0.1:1/d")
    path = tmp_path / "events.jsonl"
    assert invoke(["upgrade", "--events", str(path)]).status == ExitCode.UNREACHABLE
    assert [event["exit_code"] for event in events(path)] == [None, ExitCode.UNREACHABLE]


def test_text_has_no_secret_and_no_control_character(tmp_path: Path) -> None:
    log = EventLog("upgrade", tmp_path / "events.jsonl")
    log.open()
    log(Event(EventKind.STARTED, "main", "ALTER ROLE a PASSWORD 'hidden-word'\x1b[31m\u202e\n::error::x"))
    log.end(0)
    text = (tmp_path / "events.jsonl").read_text(encoding="utf-8")
    assert "hidden-word" not in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert len(events(tmp_path / "events.jsonl")) == 3


@pytest.mark.usefixtures("databases")
def test_full_disk_does_not_stop_a_run() -> None:
    answer = invoke(["upgrade", "--events", "/dev/full"])
    assert answer.status == ExitCode.USAGE
    assert "the events cannot be written: No space left on device" in answer.stderr
    assert "the command has done its work, with exit status 0" in answer.stderr
    assert invoke(["check"]).status == 0


@pytest.mark.parametrize(
    ("place", "problem"), [(".", "it is a folder"), ("file/events", "file is not a folder")]
)
def test_bad_file_is_refused_before_anything_else(place: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = invoke(["upgrade", "--events", str(tmp_path / place)])
    assert answer.status == ExitCode.USAGE
    assert problem in answer.stderr
