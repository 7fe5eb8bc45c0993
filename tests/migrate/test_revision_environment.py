"""What revisions read from Alembic's environment, and names that they import from Alembic."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployments import environment, invoke, project_folder
from tests.projects import Project
from tests.servers import Databases, run

__all__ = ["project_folder"]

CONTEXT = "from alembic import context"


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project whose databases the environment names."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings()
    return project


def query(databases: Databases, text: str) -> object:
    async def value() -> object:
        async with databases.connect("main") as connection:
            return await connection.fetchval(text)

    return run(value())


def test_config_and_script_while_a_step_runs_and_while_its_file_is_read(
    project: Project, empty_databases: Databases
) -> None:
    project.write("alembic.ini", "[alembic]\nscript_location = %(here)s/migrations\nshop = 100%%\n")
    project.revision(
        "main",
        "m1",
        None,
        'assert op.get_context().config is context.config, "config"\n'
        "url = sa.make_url(context.config.get_main_option('sqlalchemy.url'))\n"
        "assert url.get_backend_name() == 'postgresql' and url.password is None, url\n"
        "assert url.database == op.get_bind().scalar(sa.text('SELECT current_database()')), url\n"
        "assert context.config.attributes.get('connection') is None\n"
        "assert op.get_context().script.get_current_head() == 'm2'\n"
        "assert [each.doc for each in context.script.walk_revisions()] == ['Revision m2', 'Revision m1']\n"
        "assert context.get_revision_argument() == 'm2'\n"
        "op.create_table(TABLE, sa.Column('id', sa.Integer))",
        "assert context.get_revision_argument() is None\nop.drop_table(TABLE)",
        imports=CONTEXT,
        more='TABLE = "shop " + context.config.get_main_option("shop")',
    )
    project.revision("main", "m2", "m1", "pass", "pass")
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 0, done.stderr
    assert query(empty_databases, """SELECT to_regclass('"shop 100%"')::text""") == '"shop 100%"'
    done = invoke(["downgrade", "base", "-d", "main", "--yes"])
    assert done.status == 0, done.stderr


def test_arguments_reach_revisions_in_every_run(project: Project, empty_databases: Databases) -> None:
    body = 'op.create_table(context.get_x_argument(as_dictionary=True)["name"], sa.Column("id", sa.Integer))'
    project.revision("main", "m1", None, body, "pass", imports=CONTEXT)
    for name in "plain", "other":
        script = invoke(["upgrade", "--sql", "main@base:main@head", "-d", "main", "-x", f"name={name}"])
        assert f"CREATE TABLE {name}" in script.stdout, script
    done = invoke(["upgrade", "-d", "main", "-x", "name=plain", "-x", "more"])
    assert done.status == 0, done.stderr
    assert query(empty_databases, "SELECT to_regclass('plain')::text") == "plain"
    assert invoke(["diff", "-d", "main", "-x", "name=plain"]).status == 0
    assert invoke(["diff", "-d", "main", "-x", "name=other"]).status == 4


def test_arguments_from_the_settings(project: Project) -> None:
    settings = (project.folder / "pyproject.toml").read_text(encoding="utf-8")
    project.write_settings(settings + '[tool.circle-migrate]\nx-arguments = ["who=a=b", "flag"]\n')
    wanted = {"who": "a=b", "flag": ""}
    body = f"assert context.get_x_argument(as_dictionary=True) == {wanted}"
    project.revision("credentials", "c1", None, body, "pass", imports=CONTEXT)
    done = invoke(["upgrade"])
    assert done.status == 0, done.stderr


def test_broken_alembic_ini_is_named(project: Project) -> None:
    project.write("alembic.ini", "script_location = migrations\n")
    project.revision("main", "m1", None, "pass", "pass")
    done = invoke(["upgrade"])
    assert done.status == 2
    assert str(project.folder / "alembic.ini") in done.stderr


def test_classes_of_alembic_are_no_functions_of_op(project: Project, empty_databases: Databases) -> None:
    """A revision registers an operation and calls it in all ways."""
    project.revision(
        "main",
        "m1",
        None,
        'create_table("t", sa.Column("v", sa.Text))\n'
        'op.note("t", "one")\n'
        'Operations(op.get_context()).note("t", "two")\n'
        "with op.batch_alter_table('t') as batch:\n    batch.note_all('three')",
        "pass",
        imports="from alembic.op import create_table\n"
        "from alembic.operations import BatchOperations, MigrateOperation, Operations",
        more="""
@Operations.register_operation("note")
@BatchOperations.register_operation("note_all", "note_in_batch")
class Note(MigrateOperation):
    def __init__(self, table, text):
        self.table, self.text = table, text

    @classmethod
    def note(cls, operations, table, text):
        return operations.invoke(cls(table, text))

    @classmethod
    def note_in_batch(cls, operations, text):
        return operations.invoke(cls(operations.impl.table_name, text))


@Operations.implementation_for(Note)
def _note(operations, operation):
    operations.execute(f"INSERT INTO t VALUES ('{operation.text}')")
""",
    )
    done = invoke(["upgrade"])
    assert done.status == 0, done.stderr
    assert query(empty_databases, "SELECT string_agg(v, ' ' ORDER BY ctid) FROM t") == "one two three"


@pytest.mark.parametrize("call", ["sys.exit(0)", "sys.exit()", 'sys.exit("no")', "raise SystemExit(3)"])
def test_exit_in_a_step_is_explained(project: Project, empty_databases: Databases, call: str) -> None:
    body = f'op.execute("CREATE TABLE t ()")\n{call}'
    file = project.revision("main", "m1", None, body, "pass", imports="import sys")
    line = file.read_text(encoding="utf-8").splitlines().index(f"    {call}") + 1
    for options in [], ["--sql"]:
        done = invoke(["upgrade", "main@base:main@head" if options else "head", "-d", "main", *options])
        assert done.status == (5 if options else 10), done
        assert "the revision calls sys.exit(" in done.stderr
        assert "return" in done.stderr
        assert f"m1.py:{line}" in done.stderr
    assert query(empty_databases, "SELECT to_regclass('t')") is None


def test_exit_while_a_file_is_read_is_explained(project: Project) -> None:
    project.revision("main", "m1", None, "pass", "pass", imports="import sys", more="sys.exit(0)")
    done = invoke(["upgrade"])
    assert done.status == 5
    assert "the revision calls sys.exit(0)" in done.stderr
