"""Revision files as people write them run; files that cannot be revisions are refused by every command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from circle_migrate.core.errors import ExitCode
from tests.deployments import Answer, environment, execute, invoke, versions
from tests.projects import Project
from tests.servers import Databases, run

SHAPES = {
    "a2": """
        revision, down_revision, depends_on = "a2", "a1", None
        try:
            import shop.speedups
        except ImportError:
            def upgrade():
                op.execute("CREATE TABLE a2 (id int)")

            def downgrade():
                op.execute("DROP TABLE a2")
    """,
    "a3": """
        import shop
        revision: str = "a3"
        if shop.__name__ == "shop":
            down_revision = "a2"
        else:
            down_revision = "a1"
        upgrade, downgrade = (lambda: op.execute("SELECT 1")), (lambda: None)
    """,
    "a4": """
        (revision, (down_revision, *_)) = "a4", ("a3", "x")
        from shop.steps import *
    """,
}


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.syspath_prepend(project_folder)
    project = Project(project_folder)
    project.write_settings()
    project.revision("main", "a1", None, "pass", "pass")
    return project


def asked(*arguments: str) -> Answer:
    answer = invoke(arguments)
    assert "Traceback" not in answer.everything
    return answer


@pytest.mark.thorough
def test_shapes_of_text_run_up_and_down(project: Project, empty_databases: Databases) -> None:
    project.write("shop/steps.py", "def upgrade(): ...\ndef downgrade(): ...\n")
    for key, indented in SHAPES.items():
        text = indented.replace("\n        ", "\n")
        (project.versions("main") / f"{key}.py").write_text(
            f"from alembic import op\n{text}", encoding="utf-8"
        )
    answer = asked("upgrade")
    assert answer.status == ExitCode.DONE, answer.everything
    assert run(versions(empty_databases))["main"] == ["a4"]
    assert asked("check").status == ExitCode.DONE
    assert asked("downgrade", "main@a1", "-y", "--no-backup").status == ExitCode.DONE
    assert run(versions(empty_databases))["main"] == ["a1"]


def test_file_in_its_own_encoding_is_applied_and_assessed(
    project: Project, empty_databases: Databases
) -> None:
    (project.versions("main") / "a2.py").write_bytes(
        b"# coding: latin-1\nfrom alembic import op\nrevision, down_revision = 'a2', 'a1'\n"
        b'def upgrade():\n    op.execute("CREATE TABLE caf\xe9 (id int)")\n'
        b'def downgrade():\n    op.execute("DROP TABLE caf\xe9")\n'
    )
    answer = asked("upgrade", "--safety", "warn")
    assert answer.status == ExitCode.DONE, answer.everything

    async def tables() -> list[str]:
        async with empty_databases.connect("main") as connection:
            return [
                row[0] for row in await connection.fetch("SELECT relname FROM pg_class WHERE relname ~ 'caf'")
            ]

    assert run(tables()) == ["café"]


def test_id_that_alembic_refuses_is_found_by_check(project: Project) -> None:
    project.revision("main", "a-2", "a1", "pass", "pass")
    for command in (["check"], ["check", "--files-only"], ["upgrade"], ["status"]):
        answer = asked(*command)
        assert answer.status == ExitCode.REFUSED
        assert "revision id 'a-2' has -, which Alembic refuses" in answer.everything.replace("\n", " ")


@pytest.mark.parametrize("kind", ["pipe", "deep", "huge", "utf-16"])
def test_file_that_cannot_be_read_is_refused_by_every_command(project: Project, kind: str) -> None:
    path = project.versions("main") / "a2.py"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.write_text(
            f"revision = 'a2'\ndown_revision = 'a1'\ndata = '''{'x' * 11_000_000}'''\n", encoding="utf-8"
        )
    else:
        text = "revision = 'a2'\nvalue = " + "-" * 20_000 + "1\n"
        path.write_bytes(text.encode("utf-16" if kind == "utf-16" else "utf-8"))
    for command in ("upgrade", "status", "check", "history"):
        answer = asked(command)
        assert answer.status == ExitCode.REFUSED
        assert "versions/a2.py" in answer.everything.replace("\n", "")


@pytest.mark.parametrize(
    ("imports", "body", "status", "words"),
    [
        ("import no_such_package.part", "pass", ExitCode.REFUSED, "pip install no_such_package;"),
        ("", "import no_such_package", ExitCode.FAILED, "pip install no_such_package;"),
        (
            "import shop.gone",
            "pass",
            ExitCode.REFUSED,
            "correct the import of shop.gone, or install the version",
        ),
        ("", "op.sync_enum_values()", ExitCode.FAILED, "or name the module that adds it to op in `imports`"),
    ],
)
def test_missing_package_is_named_with_the_place_to_install_it(
    project: Project, imports: str, body: str, status: ExitCode, words: str
) -> None:
    project.write("shop/unloaded.py", "")
    project.revision("main", "a2", "a1", body, "pass", imports=imports)
    answer = asked("upgrade")
    assert answer.status == status
    text = " ".join(answer.stderr.split())
    assert "a2.py:" in text
    assert words in text
    assert "no_such_package" not in words or sys.executable in text


def test_submodules_that_only_env_py_imports_are_imported(project: Project) -> None:
    project.write("shop/types/__init__.py", "")
    project.write("shop/types/money.py", "from sqlalchemy import Numeric as Money\n")
    table = 'op.create_table("t", sa.Column("price", shop.types.money.Money()))'
    project.revision("main", "a2", "a1", table, "pass", imports="import shop")
    assert asked("upgrade").status == ExitCode.DONE


LONG = "20260102_every_colour_of_every_thing_that_we_have_ever_sold"


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [None, "text", "varchar(100)", "varchar", "char(80)"])
def test_long_ids_fit_into_a_wide_version_table(
    project: Project, empty_databases: Databases, kind: str | None
) -> None:
    project.revision("main", LONG, "a1", 'op.execute("CREATE TABLE t ()")', 'op.execute("DROP TABLE t")')
    if kind is not None:
        run(
            execute(empty_databases, "main", f"CREATE TABLE alembic_version (version_num {kind} PRIMARY KEY)")
        )
    if kind == "text":
        run(execute(empty_databases, "main", "INSERT INTO alembic_version VALUES ('a1')"))
    answer = asked("upgrade")
    assert answer.status == ExitCode.DONE, answer.everything
    assert [key.strip() for key in run(versions(empty_databases))["main"] or ()] == [LONG]
    for command in (["status", "--exit-code"], ["check"], ["diff"]):
        assert asked(*command).status == ExitCode.DONE, command
    assert asked("downgrade", "main@a1", "-y", "--no-backup").status == ExitCode.DONE
    assert asked("stamp", f"main@{LONG}", "-y").status == ExitCode.DONE


def test_long_id_is_refused_before_a_narrow_version_table(
    project: Project, empty_databases: Databases
) -> None:
    assert asked("upgrade").status == ExitCode.DONE
    project.revision("main", LONG, "a1", "pass", "pass")
    for command in ("upgrade", "status", "check", "plan"):
        answer = asked(command)
        assert answer.status == ExitCode.REFUSED
        text = " ".join(answer.everything.split())
        assert 'has 59 characters; version_num of "public"."alembic_version" holds 32' in text
        assert "ALTER COLUMN version_num TYPE varchar(255)" in text
    run(
        execute(
            empty_databases, "main", "ALTER TABLE alembic_version ALTER COLUMN version_num TYPE varchar(60)"
        )
    )
    assert asked("upgrade").status == ExitCode.DONE
