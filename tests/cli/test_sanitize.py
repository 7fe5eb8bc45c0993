"""No text from elsewhere controls a terminal or commands a CI system."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from circle_migrate.cli.console import PlainConsole, console
from circle_migrate.cli.formats import junit, markdown
from circle_migrate.cli.formats.json import dump
from circle_migrate.cli.formats.sanitize import visible, visible_lines
from circle_migrate.cli.render.widgets import table, write_line
from circle_migrate.cli.write import render, write_stderr
from circle_migrate.core.findings import Check, Finding, Report, Severity
from circle_migrate.migrate.result import ScriptResult
from tests.deployments import environment, execute, invoke
from tests.projects import Project
from tests.servers import Databases, run

BAD = "bad\x1b[31m\x9b2J\rname\n  ::error::x\n##[command]y\u202e ##vso[task.x]y ::set-output name=a::b"
BAD += "\u061c\u2028"


def _table(text: str) -> str:
    file = StringIO()
    table(console(file), ("name",), [(text,)])
    return file.getvalue()


def _line(text: str) -> str:
    file = StringIO()
    write_line(console(file), text)
    return file.getvalue()


@pytest.fixture
def project(project_folder: Path) -> Project:
    """Two trees of two plain revisions each."""
    project = Project(project_folder)
    project.write_settings()
    for name, letter in (("main", "m"), ("credentials", "c")):
        project.revision(name, f"{letter}1", None, "pass", "pass")
        project.revision(name, f"{letter}2", f"{letter}1", "pass", "pass")
    return project


def _wrapped(text: str) -> str:
    file = StringIO()
    write_line(Console(file=file, force_terminal=True, width=12, color_system=None), f"1234567 {text[-25:]}")
    return file.getvalue()


def _report(text: str) -> Report:
    finding = Finding(rule="pending", severity=Severity.ERROR, message=text, detail=text)
    return Report("check", (Check("name", text, (finding,)),))


def _junit(text: str) -> str:
    return junit.write(_report(text)).replace("\ufffd", "")


def _markdown(text: str) -> str:
    return markdown.write(_report(text)).replace("\ufffd", "")


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def _script(text: str) -> str:
    render(ScriptResult("upgrade", text), PlainConsole(file := _Terminal()))  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    "output",
    [_script, _table, _line, _wrapped, visible, visible_lines, lambda text: dump([text]), _junit, _markdown],
)
def test_text_is_inert(output: Callable[[str], str]) -> None:
    check(output(BAD))


def check(text: str) -> None:
    """Fail if the text has a control character or a line that is a command."""
    assert not [character for character in text if not character.isprintable() and character != "\n"]
    assert not re.search(r"(?m)^\s*::|##\w*\[", text)


def test_stderr_is_inert(capsys: pytest.CaptureFixture[str]) -> None:
    write_stderr(f"error: {BAD}", "a\nb")
    stderr = capsys.readouterr().err
    check(stderr)
    assert stderr.endswith("\na\nb\n")


def test_json_keeps_its_value() -> None:
    assert json.loads(dump([BAD])) == [BAD]


@pytest.mark.parametrize("output_format", ["table", "json"])
def test_texts_of_the_server_and_of_revisions_are_inert(
    project: Project, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    """A message of the server, of a revision and of its author, and the name of a prepared transaction."""
    for name, value in environment(empty_databases).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    statement = "DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = E'x\\x1b[2J\\n::error::y'; END $$"
    path = project.revision("main", "m3", "m2", f"op.execute({statement!r})", "pass")
    text = path.read_text(encoding="utf-8").partition("\n")
    path.write_text('"""shown \\x1b[31m::\\n::error::z\n' + text[2], encoding="utf-8")
    run(execute(empty_databases, "main", 'CREATE TABLE "t\x1b\x9b31m\n::error::t##[x]" (id int)'))
    for line in (
        "history",
        "show m3",
        "plan",
        "status",
        "upgrade",
        "upgrade --debug",
        "log",
        "diff --drift",
        "snapshot",
    ):
        check(invoke([*line.split(), "--format", output_format]).everything)
