"""What revisions read from Alembic's environment, and names that they import from Alembic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.deployments import RUNS, environment, invoke, project_folder
from tests.projects import Project
from tests.servers import Databases, run

__all__ = ["project_folder"]

CONTEXT = "from alembic import context"
MULTIDB = """
def upgrade(engine_name: str) -> None:
    globals()["upgrade_%s" % engine_name]()

def downgrade(engine_name: str) -> None:
    globals()["downgrade_%s" % engine_name]()

def upgrade_main() -> None:
    op.execute("CREATE TABLE of_main ()")

def downgrade_main() -> None:
    op.execute("DROP TABLE of_main")
"""


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


def forget_models() -> None:
    """Import the edited models again, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_config_and_script_while_a_step_runs_and_while_its_file_is_read(
    project: Project, empty_databases: Databases
) -> None:
    project.write("alembic.ini", "[alembic]\nscript_location = %(here)s/migrations\nshop = 100%%\n")
    project.write("migrations/pyproject.toml", "")  # of another tool: the search does not end here
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


def test_revisions_of_the_multidb_template_run_the_functions_of_their_database(
    project: Project, empty_databases: Databases
) -> None:
    file = project.revision("main", "m1", None, "pass", "pass")
    text, _, _ = file.read_text(encoding="utf-8").partition("def upgrade")
    file.write_text(text + MULTIDB, encoding="utf-8")
    script = invoke(["upgrade", "--sql", "main@base:main@head", "-d", "main"])
    assert "CREATE TABLE of_main" in script.stdout, script
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 0, done.stderr
    assert query(empty_databases, "SELECT to_regclass('of_main')::text") == "of_main"
    done = invoke(["downgrade", "base", "-d", "main", "--yes"])
    assert done.status == 0, done.stderr


def test_arguments_from_the_settings(project: Project) -> None:
    settings = (project.folder / "pyproject.toml").read_text(encoding="utf-8")
    project.write_settings(settings + '[tool.circle-migrate]\nx-arguments = ["who=a=b", "flag"]\n')
    wanted = {"who": "a=b", "flag": ""}
    body = f"assert context.get_x_argument(as_dictionary=True) == {wanted}"
    project.revision("credentials", "c1", None, body, "pass", imports=CONTEXT)
    done = invoke(["upgrade", "-d", "credentials"])
    assert done.status == 0, done.stderr


OPERATION = """
from alembic.operations import MigrateOperation, Operations

@Operations.register_operation("make_shop")
class MakeShop(MigrateOperation):
    @classmethod
    def make_shop(cls, operations, name):
        return operations.invoke(cls(name))

    def __init__(self, name):
        self.name = name

@Operations.implementation_for(MakeShop)
def make(operations, operation):
    operations.execute(f"CREATE TABLE {operation.name} (id int)")
"""


def test_operations_of_imported_modules(project: Project, empty_databases: Databases) -> None:
    settings = (project.folder / "pyproject.toml").read_text(encoding="utf-8")
    project.write_settings(settings + '[tool.circle-migrate]\nimports = ["shop.operations"]\n')
    project.revision("main", "m1", None, 'op.make_shop("corner")', 'op.drop_table("corner")')
    broken = "raise ValueError('no operations')"
    for text, status, words in (
        (None, 2, "the module shop.operations of the setting imports cannot be imported"),
        (broken, 2, "ValueError: no operations"),
        (OPERATION, 0, ""),
    ):
        if text is not None:
            project.write("shop/operations.py", text)
        script = invoke(["upgrade", "--sql", "main@base:main@head", "-d", "main"])
        assert (script.status, words in script.stderr) == (status, True), script
    assert "CREATE TABLE corner" in script.stdout
    for line in (
        "safety-check",
        "upgrade",
        "diff --drift",
        "downgrade main@base --yes",
    ):
        done = invoke([*line.split(), "-d", "main"])
        assert done.status == 0, (line, done)


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


@pytest.mark.parametrize(
    "call",
    [
        "sys.exit(0)",
        pytest.param("sys.exit()", marks=pytest.mark.thorough),
        pytest.param('sys.exit("no")', marks=pytest.mark.thorough),
        "raise SystemExit(3)",
    ],
)
def test_exit_in_a_step_is_explained(project: Project, empty_databases: Databases, call: str) -> None:
    body = f'op.execute("CREATE TABLE t ()")\n{call}'
    file = project.revision("main", "m1", None, body, "pass", imports="import sys")
    line = file.read_text(encoding="utf-8").splitlines().index(f"    {call}") + 1
    for options in [], ["--sql"]:
        done = invoke(["upgrade", "main@base:main@head" if options else "head", "-d", "main", *options])
        assert done.status == (5 if options else 10), done
        assert "the revision calls sys.exit() or raises SystemExit(" in done.stderr
        assert "return" in done.stderr
        assert f"m1.py:{line}" in done.stderr
    assert query(empty_databases, "SELECT to_regclass('t')") is None


def test_exit_while_a_file_is_read_is_explained(project: Project) -> None:
    project.revision("main", "m1", None, "pass", "pass", imports="import sys", more="sys.exit(0)")
    done = invoke(["upgrade"])
    assert done.status == 5
    assert "the revision calls sys.exit() or raises SystemExit(0)" in done.stderr


PYTHON_ERRORS = {
    "next(iter([]))": "StopIteration, as of next()",
    "asyncio.run(asyncio.sleep(0))": "write await_only(coroutine)",
    "asyncio.new_event_loop().run_until_complete(asyncio.sleep(0))": "write await_only(coroutine)",
}


@pytest.mark.parametrize(
    "call",
    [pytest.param(call, marks=[pytest.mark.thorough] * ("new_event" in call)) for call in PYTHON_ERRORS],
)
@pytest.mark.filterwarnings("ignore:coroutine", "ignore:unclosed event loop")
def test_error_of_python_has_its_line_and_a_remedy(project: Project, call: str) -> None:
    file = project.revision("main", "m1", None, f"pass\n{call}", "pass", imports="import asyncio")
    line = file.read_text(encoding="utf-8").splitlines().index(f"    {call}") + 1
    done = invoke(["upgrade", "-d", "main", "--safety", "off"])
    assert done.status == 10, done
    assert PYTHON_ERRORS[call] in done.stderr
    assert f"m1.py:{line}" in done.stderr


def test_coroutine_is_awaited_as_the_hint_says(project: Project) -> None:
    imports = "import asyncio\nfrom sqlalchemy.util import await_only"
    project.revision("main", "m1", None, "await_only(asyncio.sleep(0))", "pass", imports=imports)
    assert invoke(["upgrade", "-d", "main", "--safety", "off"]).status == 0


RAISING = {
    "raise GeneratorExit": "raises GeneratorExit()",
    "raise type('Skipped', (BaseException,), {})('no')": "raises Skipped(no)",
    "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})": "Mute: <exception str() failed>",
}


@pytest.mark.parametrize(
    "statement",
    [pytest.param(raising, marks=[pytest.mark.thorough] * ("Skipped" in raising)) for raising in RAISING],
)
def test_unusual_exception_of_a_step(project: Project, empty_databases: Databases, statement: str) -> None:
    project.revision("main", "m1", None, f'op.execute("CREATE TABLE t ()")\n{statement}', "pass")
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 10
    assert RAISING[statement] in done.stderr
    assert query(empty_databases, f"SELECT outcome FROM {RUNS}") == "failed"
    assert "Mute" in statement or invoke(["safety-check", "-d", "main"]).status == 5


CONVENTION = """
import sqlalchemy as sa

def shortened(constraint, table):
    return table.name[:2]

Base = sa.MetaData(naming_convention={
    "short": shortened, "pk": "pk_%(short)s", "ix": "i_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(short)s_%(column_0_N_name)s", "ck": "ck_%(short)s_%(constraint_name)s",
    "fk": "fk_%(short)s_%(referred_table_name)s"})
sa.Table("orders", Base, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.Text, unique=True),
    sa.Column("total", sa.Integer), sa.Column("parent", sa.ForeignKey("orders.id"), index=True),
    sa.CheckConstraint("total > 0", name="positive"))
"""
NAMED = """
op.create_table("orders", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.Text, unique=True),
    sa.Column("total", sa.Integer), sa.CheckConstraint("total > 0", name="positive"))
op.add_column("orders", sa.Column("parent", sa.Integer))
with op.batch_alter_table("orders") as batch:
    batch.create_foreign_key(None, "orders", ["parent"], ["id"])
    batch.create_index(batch.f("i_orders_parent"), ["parent"])
"""
NAMES = "ck_or_positive fk_or_orders i_orders_parent pk_or uq_or_code"
CREATED = """
    SELECT string_agg(name, ' ' ORDER BY name) FROM (
        SELECT conname::text FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype <> 'n'
        UNION SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'orders'::regclass
    ) names (name)
"""


@pytest.fixture
def conventions(project: Project) -> Project:
    project.write("shop/models.py", CONVENTION)
    return project


@pytest.mark.thorough
def test_naming_conventions_of_the_models_in_every_run(
    conventions: Project, empty_databases: Databases
) -> None:
    conventions.revision("main", "m1", None, NAMED.strip(), 'op.drop_table("orders")')
    drop = 'op.drop_constraint("positive", "orders", type_="check")'
    again = 'op.create_check_constraint("positive", "orders", "total > 0")'
    conventions.revision("main", "m2", "m1", f"{drop}\n{again}", "pass")
    script = invoke(["upgrade", "--sql", "main@base:main@head", "-d", "main"]).stdout
    assert all(name in script for name in NAMES.split())
    done = invoke(["upgrade", "-d", "main"])
    assert done.status == 0, done.stderr
    assert query(empty_databases, CREATED) == NAMES
    for line in ["diff"], ["diff", "models", "live"], ["safety-check", "--down", "--", "main@base"]:
        done = invoke([line[0], "-d", "main", *line[1:]])
        assert done.status == 0, done.everything
    (conventions.folder / "shop/models.py").write_text(CONVENTION.replace("pk_", "key_"), encoding="utf-8")
    forget_models()
    assert invoke(["diff", "-d", "main"]).status == 4


@pytest.mark.thorough
def test_autogenerated_names_are_those_of_the_convention(
    conventions: Project, empty_databases: Databases
) -> None:
    assert invoke(["revision", "--autogenerate", "-m", "first", "-d", "main"]).status == 0
    assert invoke(["upgrade", "-d", "main"]).status == 0
    assert query(empty_databases, CREATED) == NAMES
    check = 'sa.CheckConstraint("total < 9", name="small"), sa.CheckConstraint("total'
    conventions.write("shop/models.py", CONVENTION.replace('sa.CheckConstraint("total', check))
    forget_models()
    done = invoke(["revision", "--autogenerate", "-m", "second", "-d", "main"])
    assert done.status == 0, done.everything
    assert invoke(["upgrade", "-d", "main"]).status == 0
    assert query(empty_databases, CREATED) == NAMES.replace(" fk", " ck_or_small fk")
    assert invoke(["diff", "models", "live", "-d", "main"]).status == 0
    done = invoke(["downgrade", "-1", "-d", "main", "-y"])
    assert done.status == 0, done.everything
    assert query(empty_databases, CREATED) == NAMES


def test_models_are_loaded_for_names_only(project: Project, empty_databases: Databases) -> None:
    """An operation that may need a name fails where they cannot be loaded; statements do not."""
    project.write("shop/models.py", "import not_installed")
    project.revision("main", "m1", None, 'op.execute("CREATE TABLE t (id int)")', "pass")
    assert invoke(["upgrade"]).status == 0
    project.revision("main", "m2", "m1", 'op.create_unique_constraint(None, "t", ["id"])', "pass")
    done = invoke(["upgrade"])
    assert done.status == 2
    assert "not_installed" in done.stderr
    assert query(empty_databases, "SELECT version_num FROM alembic_version") == "m1"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "models",
    [
        "many = [one, (two,)]",
        "def many():\n    make(one)\n    return one, two",
        "class Base:\n    metadata = one\ndef many():\n    return [Base, lambda: two]",
    ],
)
def test_several_models_and_functions(project: Project, empty_databases: Databases, models: str) -> None:
    settings = (project.folder / "pyproject.toml").read_text(encoding="utf-8")
    project.write_settings(settings.replace("shop.models:Base", "shop.models:many"))
    text = """
import sqlalchemy as sa
one, two = sa.MetaData(), sa.MetaData(naming_convention={"pk": "key_%(table_name)s"})
def make(metadata):
    sa.Table("made", metadata, sa.Column("id", sa.Integer))
sa.Table("t1", one, sa.Column("id", sa.Integer))
sa.Table("t2", two, sa.Column("id", sa.Integer, primary_key=True))
"""
    project.write("shop/models.py", f"{text}\n{models}\n")
    done = invoke(["revision", "--autogenerate", "-m", "first", "-d", "main"])
    assert done.status == 0, done.everything
    assert invoke(["upgrade", "-d", "main"]).status == 0
    created = query(empty_databases, "SELECT string_agg(relname, ' ') FROM pg_stat_user_tables")
    assert {"t1", "t2"} <= set(str(created).split())
    assert ("made" in str(created)) is ("make(one)" in models)
    assert query(empty_databases, "SELECT to_regclass('key_t2')::text") == "key_t2"
    assert invoke(["check", "--models", "-d", "main"]).status == 0
