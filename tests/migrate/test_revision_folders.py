"""Revisions in subfolders and in several folders run; an empty folder is never up to date."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from circle_migrate.core.errors import ExitCode
from tests.deployments import environment, invoke, versions
from tests.projects import Project
from tests.servers import Databases, run

INI = "[alembic]\nscript_location = %(here)s/migrations/main\n"


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    project = Project(project_folder)
    project.write_settings()
    return project


def add(project: Project, key: str, down: str | None, folder: str | None, name: str = "main") -> Path:
    path = project.revision(
        name, key, down, f'op.execute("CREATE TABLE {key} (id int)")', f'op.execute("DROP TABLE {key}")'
    )
    if folder is None:
        return path
    target = project.folder / folder / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(target)


@pytest.mark.thorough
def test_subfolders_of_alembic_ini(project: Project, empty_databases: Databases) -> None:
    (project.folder / "alembic.ini").write_text(
        INI + "recursive_version_locations = true\n", encoding="utf-8"
    )
    add(project, "a1", None, "migrations/main/versions/2024/12")
    add(project, "a2", "a1", None)
    add(project, "a3", "a2", "migrations/main/versions/2025")
    add(project, "gone", "nowhere", "migrations/main/versions/2025/__pycache__")
    add(project, "c1", None, None, "credentials")
    assert invoke(["upgrade"]).status == ExitCode.DONE
    assert run(versions(empty_databases)) == {"main": ["a3"], "credentials": ["c1"]}
    written = invoke(["revision", "-d", "main", "-m", "next", "--rev-id", "a4"])
    assert written.status == ExitCode.DONE, written.everything
    assert (project.versions("main") / "a4_next.py").exists()  # as under Alembic
    assert invoke(["status", "--exit-code"]).status == ExitCode.PENDING
    assert invoke(["downgrade", "base", "-y", "--no-backup"]).status == ExitCode.DONE
    assert run(versions(empty_databases)) == {"main": [], "credentials": []}


def test_several_folders_of_alembic_ini(project: Project, empty_databases: Databases) -> None:
    (project.folder / "alembic.ini").write_text(
        INI + "version_locations = %(here)s/app/one:%(here)s/app/two\npath_separator = :\n", encoding="utf-8"
    )
    add(project, "a1", None, "app/one")
    add(project, "a2", "a1", "app/two")
    add(project, "ignored", "nowhere", None)
    add(project, "c1", None, None, "credentials")
    assert invoke(["upgrade"]).status == ExitCode.DONE
    assert run(versions(empty_databases)) == {"main": ["a2"], "credentials": ["c1"]}
    assert invoke(["check"]).status == ExitCode.DONE


def test_edits_in_several_folders_are_found_in_git(project: Project) -> None:
    project.write_settings(
        "[tool.circle-migrate.databases.main]\nrevisions = ['app/one', 'app/two']\n"
        "[tool.circle-migrate.databases.credentials]\nrevisions = 'migrations/credentials'\n"
    )
    add(project, "a1", None, "app/one")
    second = add(project, "a2", "a1", "app/two")
    add(project, "c1", None, None, "credentials")
    for arguments in (["init", "-q", "-b", "trunk"], ["add", "."], ["commit", "-qm", "base"]):
        identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=project.folder, check=True)
    assert invoke(["check", "--files-only", "--base", "trunk"]).status == ExitCode.DONE
    second.write_text(second.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    answer = invoke(["check", "--files-only", "--base", "trunk"])
    assert answer.status == ExitCode.REFUSED
    assert "revision a2, which trunk has, was edited" in answer.everything.replace("\n", " ")


def test_database_without_a_revision_is_not_up_to_date(project: Project) -> None:
    add(project, "c1", None, None, "credentials")
    commands = "upgrade; upgrade --dry-run; plan; status; check; wait --timeout 0; safety-check"
    for command in commands.split("; "):
        answer = invoke(command.split())
        assert answer.status == ExitCode.USAGE, command
        assert "main has no revision" in answer.everything, command
        assert "up to date" not in answer.everything, command


def test_second_database_may_have_no_revision(project: Project) -> None:
    add(project, "a1", None, None)
    assert invoke(["upgrade"]).status == ExitCode.DONE
    assert invoke(["status", "--exit-code"]).status == ExitCode.DONE
    answer = invoke(["upgrade", "-d", "credentials"])
    assert answer.status == ExitCode.USAGE
    assert "credentials has no revision" in answer.stderr


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("main", "versions/2025"),
        ("credentials", "older"),
        pytest.param("main", "older", marks=pytest.mark.thorough),
        pytest.param("credentials", "versions/2025", marks=pytest.mark.thorough),
    ],
)
def test_revisions_that_are_all_elsewhere_are_named(project: Project, name: str, folder: str) -> None:
    for database in ("main", "credentials"):
        add(project, "a1", None, f"migrations/{name}/{folder}" if database == name else None, database)
    for command in ("upgrade", "status", "history"):
        answer = invoke([command])
        assert answer.status == ExitCode.USAGE
        assert f"{name} has no revision in" in answer.stderr
        assert f"{folder}/a1.py" in answer.stderr.replace("\n", "")


def test_first_revision_of_a_project_is_written_into_an_empty_folder(project: Project) -> None:
    assert invoke(["revision", "-d", "main", "-m", "first", "--rev-id", "a1"]).status == ExitCode.DONE
    assert (project.versions("main") / "a1_first.py").exists()


def test_link_to_a_revision_file_is_no_second_revision(project: Project, empty_databases: Databases) -> None:
    file = add(project, "a1", None, None)
    (project.versions("main") / "latest.py").symlink_to(file.name)
    assert invoke(["upgrade", "-d", "main", "--safety", "off"]).status == ExitCode.DONE
    assert run(versions(empty_databases))["main"] == ["a1"]
