"""check --files-only and --base: what can be known before a merge, from files and git alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from circle_migrate.commands.check import check
from circle_migrate.commands.checks.database_checks import STATE_CHECKS
from circle_migrate.config.load import load
from circle_migrate.core.errors import ExitCode, UsageError
from circle_migrate.core.findings import Report
from circle_migrate.postgres.deployment import Deployment
from tests.projects import Project
from tests.servers import run


@pytest.fixture
def project(workdir: Path) -> Project:
    """A project with two revisions of main and one of credentials, committed on the branch `main`."""
    made = Project(workdir)
    made.write_settings()
    made.revision("main", "m1", None, "pass", "pass")
    made.revision("main", "m2", "m1", "pass", "pass")
    made.revision("credentials", "c1", None, "pass", "pass")
    git(workdir, "init", "-q", "-b", "main")
    commit(workdir)
    git(workdir, "checkout", "-q", "-b", "topic")
    return made


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *name, "-C", str(folder), *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change")


def asked(base: str | None = None) -> Report:
    return run(check(Deployment(load(environ={})), databases=False, base=base))


def findings(report: Report) -> set[tuple[str | None, str, str | None]]:
    return {(finding.database, finding.rule, finding.revision) for finding in report.findings}


def test_a_sound_project_passes_without_a_server(project: Project) -> None:
    report = asked("main")
    assert report.exit_code is ExitCode.DONE
    assert {check.name for check in report.checks} == {
        "files",
        "single-head",
        "downgrade",
        "unedited-since-base",
        "on-top-of-base",
    }


def test_a_new_revision_on_top_is_welcome(project: Project) -> None:
    project.revision("main", "m3", "m2", "pass", "pass")
    assert asked("main").exit_code is ExitCode.DONE


def test_two_branches_that_each_add_a_head_are_caught(project: Project) -> None:
    git(project.folder, "checkout", "-q", "main")
    project.revision("main", "theirs", "m2", "pass", "pass")
    commit(project.folder)
    git(project.folder, "checkout", "-q", "topic")
    project.revision("main", "ours", "m2", "pass", "pass")
    assert asked().exit_code is ExitCode.DONE
    report = asked("main")
    # What the base has and the branch has not yet is not a removal: the branch is merely behind.
    assert findings(report) == {("main", "unreachable-from-base", "ours")}
    assert report.exit_code is ExitCode.REFUSED


def test_being_behind_the_base_is_no_finding(project: Project) -> None:
    git(project.folder, "checkout", "-q", "main")
    project.revision("main", "theirs", "m2", "pass", "pass")
    commit(project.folder)
    git(project.folder, "checkout", "-q", "topic")
    assert asked("main").exit_code is ExitCode.DONE


def test_an_edit_of_what_the_base_has_is_caught(project: Project) -> None:
    file = project.versions("main") / "m1.py"
    file.write_text(file.read_text(encoding="utf-8").replace("pass", "return", 1), encoding="utf-8")
    report = asked("main")
    assert findings(report) == {("main", "edited-revision", "m1")}
    assert report.findings[0].file == str(file)


def test_a_removal_of_what_the_base_has_is_caught(project: Project) -> None:
    (project.versions("main") / "m2.py").unlink()
    commit(project.folder)
    assert ("main", "edited-revision", "m2") in findings(asked("main"))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", {("main", "no-downgrade", "m3")}),
        ('irreversible = "the hashes are gone"', set()),
    ],
)
def test_a_revision_without_downgrade_has_to_say_why(
    project: Project, more: str, expected: set[tuple[str, str, str]]
) -> None:
    path = project.revision("main", "m3", "m2", "pass", "pass", more=more)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("def downgrade")], encoding="utf-8")
    assert findings(asked()) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("revision = 'm3'\ndown_revision = 'm2'\ndef upgrade(:\n", "broken-tree"),
        (
            "revision = 'm3'\ndown_revision = 'gone'\ndef upgrade(): pass\ndef downgrade(): pass\n",
            "broken-tree",
        ),
        (
            "revision = 'm3'\ndown_revision = 'm1'\ndef upgrade(): pass\ndef downgrade(): pass\n",
            "several-heads",
        ),
    ],
)
def test_broken_files_and_several_heads_are_findings_with_a_place(
    project: Project, text: str, rule: str
) -> None:
    path = project.versions("main") / "m3.py"
    path.write_text(text, encoding="utf-8")
    report = asked()
    assert {finding.rule for finding in report.findings} == {rule}
    assert report.findings[0].file
    assert report.findings[0].line
    assert report.exit_code is ExitCode.REFUSED


def test_what_needs_the_trees_is_skipped_by_name_where_they_are_broken(project: Project) -> None:
    (project.versions("main") / "m3.py").write_text("x = (", encoding="utf-8")
    of_files = {"single-head", "downgrade"}
    assert {check.name for check in asked().checks if check.skipped} == of_files
    report = run(check(Deployment(load())))
    assert {check.name for check in report.checks if check.skipped} == of_files | STATE_CHECKS.keys()


def test_an_unknown_base_is_a_usage_error(project: Project) -> None:
    with pytest.raises(UsageError, match="git"):
        asked("no-such-branch")
