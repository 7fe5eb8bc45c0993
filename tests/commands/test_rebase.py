"""`rebase`: in a real git repository, with databases that have applied the revision or not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from circle_migrate.core.errors import ExitCode
from tests.deployments import environment, invoke
from tests.projects import Project
from tests.servers import Databases

SETTINGS = '[tool.circle-migrate.databases.main]\nrevisions = "migrations/main"\n'
MINE = '''"""Mine — with a long dash

Revision ID: m2
Revises: a1
Create Date: 2024-01-01 00:00:00.000000

"""
from alembic import op

# revision identifiers, used by Alembic.
revision: str   = 'm2'
down_revision: "str | None" = 'a1' # comment
branch_labels=None
depends_on  =  None


def upgrade():
    op.execute( "CREATE TABLE m2 (down_revision text DEFAULT 'a1')" )


def downgrade():
	op.execute("DROP TABLE m2")
'''


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def table(key: str) -> tuple[str, str]:
    return f'op.execute("CREATE TABLE {key} (id int)")', f'op.execute("DROP TABLE {key}")'


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    """main has a1 and b2; the branch with m2 and m3 left it at a1, and was merged with it."""
    monkeypatch.setenv("DATABASE_URL", environment(empty_databases)["DATABASE_URL"])
    project = Project(project_folder)
    project.write_settings(SETTINGS)
    project.revision("main", "a1", None, *table("a1"))
    project.revision("main", "b2", "a1", *table("b2"))
    git(project_folder, "init", "-q", "-b", "main")
    git(project_folder, "add", ".")
    git(project_folder, "commit", "-qm", "base")
    git(project_folder, "checkout", "-qb", "mine")
    mine(project).write_bytes(MINE.encode())
    project.revision("main", "m3", "m2", *table("m3"))
    git(project_folder, "add", ".")
    git(project_folder, "commit", "-qm", "mine")
    return project


def mine(project: Project) -> Path:
    return project.versions("main") / "m2_mine.py"


def done(*arguments: str) -> str:
    answer = invoke(arguments)
    assert answer.status == ExitCode.DONE, answer.everything
    return answer.stdout


def test_only_the_parent_changes(project: Project) -> None:
    assert invoke(["check"]).status == ExitCode.REFUSED
    mine(project).chmod(0o640)
    shown = json.loads(done("rebase", "m2", "--dry-run", "--format", "json"))
    assert mine(project).read_bytes() == MINE.encode()
    assert (shown["before"], shown["follow"], shown["notes"]) == (["a1"], ["m3"], [])
    assert shown["revision"]["down_revision"] == ["b2"]
    text = done("rebase", "m2")
    assert "m2 follows b2, no longer a1" in text
    assert "+Revises: b2" in text
    expected = MINE.replace("Revises: a1", "Revises: b2").replace("= 'a1' #", "= 'b2' #")
    assert mine(project).read_bytes() == expected.encode()
    assert mine(project).stat().st_mode & 0o777 == 0o640
    done("check", "--base", "main", "--no-pending")
    done("upgrade")
    assert "m2 follows b2 already" in done("rebase", "main@m2")


FORMS = [
    ("down_revision = ('a1',)", "down_revision = 'b2'"),
    ('down_revision = ("a1")  # x', 'down_revision = ("b2")  # x'),
    ("down_revision: str = r'a1'", "down_revision: str = 'b2'"),
]


@pytest.mark.parametrize(
    ("before", "after", "ends"),
    [
        *((*form, "\n") for form in FORMS),
        (*FORMS[0], "\r\n"),
        *(pytest.param(*form, "\r\n", marks=pytest.mark.thorough) for form in FORMS[1:]),
    ],
)
def test_forms(project: Project, before: str, after: str, ends: str) -> None:
    text = MINE.replace("down_revision: \"str | None\" = 'a1' # comment", before).replace("\n", ends)
    mine(project).write_bytes(text.encode())
    done("rebase", "m2")
    expected = text.replace(before, after).replace("Revises: a1", "Revises: b2")
    assert mine(project).read_bytes() == expected.encode()


def test_from_base(project: Project) -> None:
    text = MINE.replace("= 'a1' #", "= None #").replace("Revises: a1", "Revises: ")
    mine(project).write_bytes(text.encode())
    done("rebase", "m2", "--onto", "b2")
    expected = text.replace("= None #", '= "b2" #').replace("Revises: ", "Revises: b2")
    assert mine(project).read_bytes() == expected.encode()


COMPUTED = [
    "down_revision = 'a' + '1'",
    "down_revision = 'a1'\ndown_revision = 'a1'",
    "x = 'a1'\ndown_revision = x",
]


@pytest.mark.parametrize("line", COMPUTED)
def test_a_computed_parent_is_refused(project: Project, line: str) -> None:
    text = MINE.replace("down_revision: \"str | None\" = 'a1' # comment", line)
    mine(project).write_bytes(text.encode())
    answer = invoke(["rebase", "m2"])
    assert (answer.status, "is not one literal" in answer.stderr) == (ExitCode.REFUSED, True)
    assert mine(project).read_bytes() == text.encode()


@pytest.mark.thorough
@pytest.mark.parametrize("applied", ["m2", "m3"])
def test_an_applied_revision_stays(project: Project, applied: str) -> None:
    done("upgrade", applied)
    answer = invoke(["rebase", "m2"])
    assert (answer.status, f"{applied} is applied (or half applied)" in answer.stderr) == (
        ExitCode.REFUSED,
        True,
    )
    assert mine(project).read_bytes() == MINE.encode()
    done("downgrade", "a1", "-y", "--no-backup")
    notes = " ".join(done("rebase", "m2").split())
    assert "main has applied and undone m2" in notes


def test_a_revision_that_only_the_journal_knows_as_applied_stays(
    project: Project, empty_databases: Databases
) -> None:
    from tests.deployments import execute
    from tests.servers import run

    done("upgrade", "m2")
    run(execute(empty_databases, "main", "UPDATE alembic_version SET version_num = 'a1'"))
    assert invoke(["rebase", "m2"]).status == ExitCode.REFUSED


def test_a_half_applied_revision_stays(project: Project) -> None:
    path = project.versions("main") / "m3.py"
    text = path.read_text(encoding="utf-8").replace(
        "depends_on = None", "depends_on = None\ntransactional = False"
    )
    path.write_text(
        text.replace("def downgrade", "    op.execute('SELECT 1/0')\n\ndef downgrade"), encoding="utf-8"
    )
    assert invoke(["upgrade", "m3"]).status == ExitCode.IN_DOUBT
    answer = invoke(["rebase", "m3", "--onto", "b2"])
    assert (answer.status, "m3 is applied (or half applied)" in answer.stderr) == (ExitCode.REFUSED, True)


def test_what_the_base_branch_has_stays(project: Project) -> None:
    git(project.folder, "branch", "other")
    answer = invoke(["rebase", "m2", "--base", "other"])
    assert answer.status == ExitCode.REFUSED, answer.everything
    assert "other has m2, m3, so others may have applied it" in answer.stderr
    answer = invoke(["rebase", "b2"])
    assert "main has b2, so others" in answer.stderr
    assert mine(project).read_bytes() == MINE.encode()


def test_what_was_not_asked_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, empty_databases: Databases
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_databases.server.url("gone"))
    assert "main was not asked: " in done("rebase", "m2", "--dry-run")
    monkeypatch.delenv("DATABASE_URL")
    assert "main was not asked: DATABASE_URL is not set" in done("rebase", "m2", "--dry-run")
    git(project.folder, "branch", "-m", "main", "trunk")
    assert "no base branch was compared" in " ".join(done("rebase", "m2").split())


WRONG = [
    (["zz"], "main has no revision 'zz'", ExitCode.USAGE),
    (["head"], "head does not name one revision", ExitCode.USAGE),
    (["m2", "--onto", "m3"], "m3 follows m2", ExitCode.USAGE),
    (["m2", "--onto", "main@zz"], "main has no revision 'zz'", ExitCode.USAGE),
    (["a1"], "main has no other head than that of a1", ExitCode.USAGE),
    (["m2", "--base", "nowhere"], "git rev-parse failed", ExitCode.USAGE),
]


def test_wrong_revisions(project: Project) -> None:
    for arguments, message, status in WRONG:
        answer = invoke(["rebase", *arguments])
        assert (answer.status, message in answer.stderr) == (status, True), answer.everything


def test_heads_and_merges(project: Project) -> None:
    project.revision("main", "c2", "a1", *table("c2"))
    answer = invoke(["rebase", "m2"])
    assert "main has several other heads: b2, c2" in answer.stderr
    assert "m2 follows c2" in done("rebase", "m2", "--onto", "c2", "--dry-run")
    project.revision("main", "j4", ("m3", "b2"), *table("j4"))
    answer = invoke(["rebase", "m2", "--onto", "c2"])
    assert (answer.status, "j4, which follows m2, joins it" in answer.stderr) == (ExitCode.REFUSED, True)
    answer = invoke(["rebase", "j4", "--onto", "c2"])
    assert "j4 is a merge of m3 and b2" in answer.stderr


def test_onto_a_squashed_revision(project: Project) -> None:
    (project.versions("main") / "squashed").mkdir()
    path = project.revision("main", "s0", None, *table("s0"), more="replaces = ('a1', 'b2')")
    path.rename(path.parent / "squashed" / path.name)
    done("rebase", "m2")
    assert "down_revision: \"str | None\" = 'b2'" in mine(project).read_text(encoding="utf-8")
    done("upgrade", "head")


def test_without_libcst(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "libcst", None)
    answer = invoke(["rebase", "m2"])
    assert (answer.status, "pip install 'circle-migrate[rebase]'" in answer.stderr) == (ExitCode.USAGE, True)
