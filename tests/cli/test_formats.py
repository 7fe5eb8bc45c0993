"""Every format of a report is valid by its official schema and equals its snapshot.

UPDATE_SNAPSHOTS=1 writes the snapshots; review their diff.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from pkgutil import walk_packages
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import typer
import xmlschema
from typer.testing import CliRunner

import circle_migrate
from circle_migrate.cli.command import Declarations, command
from circle_migrate.cli.context import CommandContext
from circle_migrate.cli.formats import comparison, github
from circle_migrate.cli.options import ANY_RESULT, CHECKS, Format
from circle_migrate.cli.write import DIFFERENCES, console, format_failure, format_result, render
from circle_migrate.core import errors, redaction
from circle_migrate.core.errors import ExitCode, MigrateError, UsageError
from circle_migrate.core.findings import (
    Check,
    Finding,
    Outcome,
    Report,
    Rule,
    Severity,
    fingerprints,
    from_error,
    known_rules,
)
from circle_migrate.migrate.result import ScriptResult

SNAPSHOTS = Path(__file__).parent / "format_snapshots"
FORMATS = [output_format for output_format in Format if output_format is not Format.TABLE]
# Read before the fixtures scrub the environment.
OFFICIAL = os.environ.get("CIRCLE_MIGRATE_SCHEMAS")
ERROR, WARNING, NOTE = Severity

PENDING = Finding(
    "pending",
    ERROR,
    "main: c4198e875dd0 is pending",
    ExitCode.PENDING,
    database="main",
    revision="c4198e875dd0",
    file="/project/migrations/main/c4198e875dd0_add_events.py",
    line=12,
)
INVALID = Finding(
    "invalid-index",
    WARNING,
    "index public.ix_users_email is invalid",
    ExitCode.DRIFT,
    database="main",
    subject="public.ix_users_email",
)
NASTY = Finding(
    "broken-tree",
    ERROR,
    '100% broken: <a & "b"> ]]> | `code`, *stars*\x00\x1b[31m\r\n::error::not a command',
    ExitCode.REFUSED,
    database="credentials",
    detail="first line\n\n- second: line, with | and #",
    remedy="put 'x' <b>in</b>",
    file="/project/migrations/a b,c:d%/x.py",
    line=3,
)
SEVERAL = Finding(
    "several-heads",
    ERROR,
    "main has 2 heads: a930217cd080, c4198e875dd0",
    ExitCode.REFUSED,
    database="main",
    remedy="circle-migrate merge -d main",
)
UNREACHABLE = from_error(
    errors.Unreachable(
        "credentials: the server does not answer",
        database="credentials",
        detail="Connection refused",
        hint="start it",
    )
)


def report(*checks: Check) -> Report:
    return Report(
        "check",
        checks,
        folders={"main": "/project/migrations/main", "credentials": "/elsewhere/credentials"},
        root="/project",
        started_at=datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC),
    )


REPORTS = {
    "none": report(),
    "clean": report(
        Check("pending", "No revision is pending", seconds=0.0123), Check("heads", "One head per tree")
    ),
    "mixed": report(
        Check("pending", "No revision is pending", (PENDING, UNREACHABLE), seconds=1.5),
        Check("indexes", "Every index is valid", (INVALID, replace(INVALID, severity=NOTE))),
        Check(
            "heads", "One head per tree", (replace(PENDING, rule="several-heads", status=ExitCode.REFUSED),)
        ),
        Check("models", "Models and revisions agree", skipped="--models was not given"),
    ),
    "nasty": report(
        Check("files", "Files | are <well>", (NASTY, replace(NASTY, file="/elsewhere/y.py", line=None))),
        Check("base", "Base", skipped="line one\n| line two"),
    ),
    "many": report(Check("pending", "No revision is pending", (PENDING,) * 25)),
}
SUFFIXES = {
    "json": "json",
    "sarif": "sarif",
    "junit": "xml",
    "gitlab": "gitlab.json",
    "github": "github.txt",
    "markdown": "md",
}


def table(shown: Report) -> str:
    text = StringIO()
    render(shown, console(text))
    return text.getvalue()


def writers() -> dict[str, tuple[str, Callable[[Report], str]]]:
    writers = {
        output_format: (
            suffix,
            lambda shown, output_format=output_format: format_result(output_format, shown),
        )
        for output_format, suffix in SUFFIXES.items()
    }
    return {**writers, "summary": ("md", github.summary), "table": ("txt", table)}


def official(name: str) -> Path:
    if OFFICIAL is None:
        pytest.skip(f"CIRCLE_MIGRATE_SCHEMAS does not name a folder with {name}")
    return Path(OFFICIAL) / name


each_report = pytest.mark.parametrize("name", REPORTS)


@each_report
@pytest.mark.parametrize("output_format", writers())
def test_snapshot(name: str, output_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circle_migrate.cli.formats.sarif.__version__", "1.2.3")
    suffix, writer = writers()[output_format]
    text = writer(REPORTS[name])
    file = SNAPSHOTS / f"{name}.{suffix}"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode())
    assert text == file.read_bytes().decode()


@each_report
def test_sarif_keeps_to_its_schema(name: str) -> None:
    schema = json.loads(official("sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(schema).validate(json.loads(format_result("sarif", REPORTS[name])))


@each_report
def test_junit_keeps_to_its_schema(name: str) -> None:
    xmlschema.XMLSchema(official("JUnit.xsd")).validate(format_result("junit", REPORTS[name]))


@each_report
def test_sarif_is_what_code_scanning_takes(name: str) -> None:
    (run,) = json.loads(format_result("sarif", REPORTS[name]))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(REPORTS[name].findings)
    assert run["invocations"][0]["exitCode"] == REPORTS[name].exit_code
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location["uriBaseId"] == "%SRCROOT%"
        assert re.fullmatch(r"[\w./%-]+", location["uri"])
        assert not location["uri"].startswith("/")
    prints = [result["partialFingerprints"]["circleMigrate/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_has_no_arguments_in_texts_with_braces() -> None:
    shown = report(Check("drift", "No drift", (replace(PENDING, message="default '{}' -> '{0}'"),)))
    (run,) = json.loads(format_result("sarif", shown))["runs"]
    assert run["results"][0]["message"]["text"].startswith("default '{{}}' -> '{{0}}'")


def test_sarif_says_that_something_could_not_be_looked_at() -> None:
    successful = {
        name: json.loads(format_result("sarif", shown))["runs"][0]["invocations"][0]["executionSuccessful"]
        for name, shown in REPORTS.items()
    }
    assert successful == {"none": True, "clean": True, "mixed": False, "nasty": True, "many": True}


@each_report
def test_junit_counts_are_those_of_its_cases(name: str) -> None:
    suite = ET.fromstring(format_result("junit", REPORTS[name])).find("testsuite")
    assert suite is not None
    counts = {key: len(suite.findall(f"testcase/{tag}")) for key, tag in JUNIT_COUNTS.items()}
    assert {key: int(suite.attrib[key]) for key in counts} == counts
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == len(REPORTS[name].checks)


JUNIT_COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


@each_report
def test_gitlab_has_what_code_quality_asks_for(name: str) -> None:
    issues = json.loads(format_result("gitlab", REPORTS[name]))
    assert len(issues) == len(REPORTS[name].findings)
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for issue in issues:
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["description"]
        assert issue["check_name"] in known_rules()
        assert issue["location"]["lines"]["begin"] >= 1
        assert not issue["location"]["path"].startswith(("/", "./"))


@each_report
def test_github_gets_one_command_per_line_and_at_most_ten_of_a_type(name: str) -> None:
    *commands, last = format_result("github", REPORTS[name]).splitlines()
    for line in commands:
        assert re.fullmatch(r"::(error|warning|notice) [^:]*::.+", line)
    for kind in ("error", "warning", "notice"):
        assert sum(line.startswith(f"::{kind} ") for line in commands) <= 10
    assert last.startswith("circle-migrate check: ")


def test_github_counts_what_it_leaves_out() -> None:
    lines = format_result("github", REPORTS["many"]).splitlines()
    assert "::error title=circle-migrate::16 more in the job summary" in lines
    assert format_result("github", report(Check("p", "P", (PENDING,) * 10))).count("::error ") == 10
    assert "more" not in format_result("github", report(Check("p", "P", (PENDING,) * 10)))


def test_github_unescapes_to_what_was_found() -> None:
    line = format_result("github", REPORTS["nasty"]).splitlines()[0]
    properties, data = re.fullmatch(r"::error ([^:]*)::(.*)", line).groups()  # type: ignore[union-attr]
    assert unescape(properties.split(",")[0]) == "file=migrations/a b,c:d%/x.py"
    assert unescape(data).startswith(
        '100% broken: <a & "b"> ]]> | `code`, *stars*\ufffd\ufffd[31m\n::error::'
    )


def unescape(text: str) -> str:
    for code, character in {"%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}.items():
        text = text.replace(code, character)
    return text


@pytest.mark.thorough
@pytest.mark.parametrize("text", ["é" * 3000, "€" * 3000, "x y " * 700 + "x"])
def test_summary_is_truncated_at_a_line(text: str) -> None:
    checks = (Check("pending", "No revision is pending", (replace(PENDING, message=text),) * 500),)
    cut = github.summary(report(*checks))
    assert len(cut.encode()) <= github.SUMMARY_BYTES < 1024 * 1024
    *kept, last = cut.rstrip("\n").splitlines()
    assert last == "The summary is truncated."
    whole_lines = [line for line in kept if line.startswith(f"  {text[0]}")]
    assert set(whole_lines) == {f"  {text}  "}


def test_summary_has_one_row_per_check() -> None:
    text = github.summary(REPORTS["nasty"])
    assert [line.count(" | ") for line in text.splitlines() if line.startswith("| :")] == [2, 2]


@pytest.mark.parametrize("output_format", writers())
def test_no_format_shows_a_secret(output_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    # Every format escapes this secret, so a redaction after the escape would miss it.
    secret = "hunter2|,:%<&\"' é"
    redaction.register(secret)
    text = f"begin {secret} end"
    finding = replace(
        PENDING, message=text, detail=text, remedy=text, subject=text, file=f"/project/{secret}/x.py"
    )
    text = writers()[output_format][1](
        report(
            Check("a", text, (finding, replace(finding, file=None), replace(finding, severity=NOTE))),
            Check("b", text, skipped=text),
        )
    )
    assert "begin" in text
    assert redaction.MASK in text.replace("\\*", "*")
    assert "hunter2" not in text


def kinds(error: type[MigrateError] = MigrateError) -> set[type[MigrateError]]:
    return {error}.union(*map(kinds, error.__subclasses__()))


def test_every_error_of_the_package_can_be_a_finding() -> None:
    for module in walk_packages(circle_migrate.__path__, "circle_migrate."):
        if not re.search(r"__main__|\.revisions\.", module.name):
            import_module(module.name)
    for kind in kinds():
        finding = from_error(kind("what", detail="d", state="s", hint="h", location="/a/b.py:7"))
        assert (finding.rule, finding.status) == (kind.code, kind.status)
        assert (finding.file, finding.line, finding.detail, finding.remedy_text) == (
            "/a/b.py",
            7,
            "d\ns",
            "h",
        )


@pytest.mark.parametrize(
    ("location", "split"),
    [("a.py:7", ("a.py", 7)), ("a.py", ("a.py", None)), ("C:/a.py", ("C:/a.py", None)), (None, (None, None))],
)
def test_a_location_is_split(location: str | None, split: tuple[str | None, int | None]) -> None:
    finding = from_error(UsageError("what", location=location))
    assert (finding.file, finding.line) == split


def test_a_rule_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="unheard-of"):
        replace(PENDING, rule="unheard-of")


@pytest.mark.parametrize("rule", known_rules().values(), ids=lambda rule: rule.id)
def test_rules_are_written_out(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*|CM\d{3}", rule.id)
    assert not rule.title.endswith(".")
    assert rule.effect.endswith(".")
    assert rule.remedy.endswith(".")


@pytest.mark.parametrize(
    "change", [{"message": "x"}, {"line": 99}, {"detail": "x"}, {"remedy": "x"}, {"severity": NOTE}]
)
def test_fingerprint_stays(change: dict[str, object]) -> None:
    assert replace(PENDING, **change).fingerprint == PENDING.fingerprint  # type: ignore[arg-type]


def test_fingerprint_does_not_know_the_checkout() -> None:
    moved = replace(PENDING, file=(PENDING.file or "").replace("/project", "/home/somebody/clone"))
    assert moved.fingerprint == PENDING.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "no-downgrade"},
        {"database": "x"},
        {"revision": "x"},
        {"subject": "x"},
        {"file": "/project/x.py"},
    ],
)
def test_fingerprint_changes(change: dict[str, object]) -> None:
    assert replace(PENDING, **change).fingerprint != PENDING.fingerprint  # type: ignore[arg-type]


def test_fingerprints_of_the_same_are_told_apart_the_same_way_each_time() -> None:
    once = fingerprints([PENDING, INVALID, PENDING, PENDING])
    assert len(set(once)) == 4
    assert once == fingerprints([PENDING, INVALID, PENDING, PENDING])
    assert once[0] == PENDING.fingerprint


@pytest.mark.parametrize(
    ("findings", "skipped", "outcome", "status"),
    [
        ((), None, Outcome.OK, ExitCode.DONE),
        ((), "why", Outcome.SKIPPED, ExitCode.DONE),
        ((replace(PENDING, severity=NOTE),), None, Outcome.OK, ExitCode.DONE),
        ((INVALID,), None, Outcome.WARNING, ExitCode.DONE),
        ((INVALID, PENDING), None, Outcome.FAILED, ExitCode.PENDING),
        ((PENDING, NASTY, UNREACHABLE), None, Outcome.FAILED, ExitCode.UNREACHABLE),
        ((PENDING,), "half-way", Outcome.FAILED, ExitCode.PENDING),
    ],
)
def test_errors_alone_decide(
    findings: tuple[Finding, ...], skipped: str | None, outcome: Outcome, status: ExitCode
) -> None:
    check = Check("a", "A", findings, skipped)
    assert check.outcome is outcome
    assert report(check).exit_code is status


def test_places_are_relative_to_the_repository(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / ".git").mkdir()
    (workdir / "backend").mkdir()
    monkeypatch.chdir(workdir / "backend")
    finding = replace(PENDING, file="versions/x.py")
    shown = Report("check", (Check("pending", "P", (finding,)),))
    (issue,) = json.loads(format_result("gitlab", shown))
    assert issue["location"]["path"] == "backend/versions/x.py"


def test_a_terminal_gets_symbols_where_it_can_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "✗ FAIL" in table(REPORTS["mixed"])
    assert "\x1b[" in table(REPORTS["mixed"])


def test_a_pipe_gets_words() -> None:
    assert "\x1b" not in table(REPORTS["mixed"])
    assert "\x1b" not in table(REPORTS["nasty"])
    assert re.findall(r"^(ok|warn|FAIL|skipped)\b", table(REPORTS["mixed"]), re.MULTILINE) == [
        "FAIL",
        "warn",
        "FAIL",
        "skipped",
    ]


def test_every_format_has_its_writer() -> None:
    for output_format in FORMATS:
        if output_format in DIFFERENCES:
            assert hasattr(comparison, output_format)
        else:
            assert find_spec(f"circle_migrate.cli.formats.{output_format}")


@pytest.mark.parametrize(
    "output_format", [output_format for output_format in CHECKS if output_format not in ANY_RESULT]
)
def test_formats_for_checks_refuse_what_has_none(output_format: str) -> None:
    with pytest.raises(UsageError, match="result of `upgrade` cannot be written as"):
        format_result(output_format, ScriptResult("upgrade", "SELECT 1"))


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_command_that_could_not_begin_is_reported_in_the_same_format(output_format: str) -> None:
    text = format_failure(output_format, "check", errors.SettingsError("DATABASE_URL is missing"))
    assert "DATABASE_URL is missing" in text.replace("\\", "")
    if output_format == "sarif":
        assert not json.loads(text)["runs"][0]["invocations"][0]["executionSuccessful"]
    if output_format == "junit":
        assert len(ET.fromstring(text).findall("testsuite/testcase/error")) == 1


def app(ran: list[str]) -> typer.Typer:
    declarations: Declarations = []

    @command(declarations, panel="Test", formats=CHECKS)
    def looks(context: CommandContext) -> Report:
        """Make checks."""
        return REPORTS["mixed"]

    @command(declarations, panel="Test")
    def does(context: CommandContext) -> ScriptResult:
        """Do something."""
        ran.append(context.command)
        return ScriptResult("does", "SELECT 1;\n")

    application = typer.Typer()
    for declaration in declarations:
        declaration.add_to(application)
    return application


@pytest.mark.parametrize("output_format", CHECKS)
def test_commands_that_make_checks_take_every_format_for_checks(output_format: Format) -> None:
    outcome = CliRunner().invoke(app([]), ["looks", "--format", output_format])
    assert outcome.exit_code == ExitCode.UNREACHABLE
    expected = (
        table(REPORTS["mixed"])
        if output_format is Format.TABLE
        else format_result(output_format, REPORTS["mixed"])
    )
    assert outcome.stdout == expected


@pytest.mark.parametrize("output_format", Format)
def test_other_commands_take_two_and_do_not_begin_with_another(output_format: Format) -> None:
    ran: list[str] = []
    outcome = CliRunner().invoke(app(ran), ["does", "--format", output_format])
    assert outcome.exit_code == (ExitCode.DONE if output_format in ANY_RESULT else ExitCode.USAGE)
    assert ran == (["does"] if output_format in ANY_RESULT else [])


@pytest.mark.parametrize(("name", "listed"), [("looks", CHECKS), ("does", ANY_RESULT)])
def test_help_lists_the_formats_of_the_command(name: str, listed: tuple[Format, ...]) -> None:
    shown = CliRunner().invoke(app([]), [name, "--help"], env={"COLUMNS": "200"}).stdout
    assert f"<{'|'.join(listed)}>" in shown
