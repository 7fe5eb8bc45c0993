"""Two Alembic environments of another project, used unchanged: settings name them, no env.py is run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.history import branches, heads, history, show
from circle_migrate.commands.revision import merge, revision
from circle_migrate.commands.sql_script import script
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.config.object_reference import load_models
from circle_migrate.config.url.parse import parse
from circle_migrate.core.errors import MigrateError, Refused, SettingsError, SeveralHeads, UsageError
from circle_migrate.diff.autogenerate.autogenerate import autogenerate
from circle_migrate.diff.autogenerate.placement import Placement
from circle_migrate.diff.autogenerate.revision_file import RevisionFilesResult
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.safety.hazards.hazard import HAZARDS
from tests.deployments import agree, catalogs, contents, deployment, environment, versions
from tests.projects import Project
from tests.servers import Databases, run

MODELS = """
    from sqlalchemy import Index, String
    from sqlalchemy.dialects.postgresql import JSONB
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


    class Base(DeclarativeBase):
        pass


    class Person(Base):
        __tablename__ = "people"
        __table_args__ = (Index("ix_people_name", "name"),)

        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))
        note: Mapped[str | None]


    class Invoice(Base):
        __tablename__ = "invoices"

        id: Mapped[int] = mapped_column(primary_key=True)
        total: Mapped[int]
"""
SECRETS = """
    from sqlalchemy import Column, Integer, MetaData, Table, Text

    metadata = MetaData()
    tokens = Table("tokens", metadata, Column("id", Integer, primary_key=True), Column("token", Text))
"""
HELPERS = """
    from alembic import op
    import sqlalchemy as sa


    def add_note(table):
        op.add_column(table, sa.Column("note", sa.String))
"""
MAIN_HEAD, CREDENTIALS_HEAD = "m7", "c1"


@pytest.fixture
def project(project_folder: Path) -> Project:
    """Revisions in every form, in two trees; the first has branches and a merge."""
    project = Project(project_folder)
    project.write_settings()
    project.write("shop/models.py", MODELS)
    project.write("shop/secrets.py", SECRETS)
    project.write("shop/helpers.py", HELPERS)
    project.revision(
        "main",
        "m1",
        None,
        'people = op.create_table("people", sa.Column("id", sa.Integer, primary_key=True),\n'
        '    sa.Column("name", sa.String(40), nullable=False))\n'
        'op.bulk_insert(people, [{"name": "Ann"}, {"name": "Bob 100%"}])',
        'op.drop_table("people")',
    )
    project.revision(
        "main",
        "m2",
        "m1",
        'execute("CREATE TABLE invoices (id serial PRIMARY KEY, total integer NOT NULL)")',
        'drop_table("invoices")',
        imports="from alembic.op import drop_table, execute",
        labels="billing",
    )
    project.revision(
        "main",
        "m3",
        "m1",
        'with op.batch_alter_table("people") as batch:\n    batch.alter_column("name", type_=sa.String(50))',
        'with op.batch_alter_table("people") as batch:\n    batch.alter_column("name", type_=sa.String(40))',
        labels="people",
    )
    project.revision("main", "m4", "m3", 'op.execute("SELECT total FROM invoices")', "pass", depends_on="m2")
    project.revision("main", "m5", ("m2", "m4"), "pass", "pass")
    project.revision(
        "main",
        "m6",
        None,
        'add_note("people")',
        'op.drop_column("people", "note")',
        computed='"".join(["m", "5"])',
        imports="from shop.helpers import add_note",
    )
    project.revision(
        "main",
        "m7",
        "m6",
        "assert not context.is_offline_mode()\n"
        'assert context.get_context().dialect.name == "postgresql"\n'
        "with op.get_context().autocommit_block():\n"
        '    op.create_index("ix_people_name", "people", ["name"], postgresql_concurrently=True)',
        'op.drop_index("ix_people_name")',
        imports="from alembic import context",
    )
    project.revision(
        "credentials",
        "c1",
        None,
        'op.create_table("tokens",\n'
        '    sa.Column("id", sa.Integer, primary_key=True), sa.Column("token", sa.Text))',
        'op.drop_table("tokens")',
    )
    return project


async def rows(databases: Databases, query: str) -> list[str]:
    async with databases.connect("main") as connection:
        return [row[0] for row in await connection.fetch(query)]


@pytest.mark.usefixtures("project")
def test_up_and_down_and_up_again(empty_databases: Databases) -> None:
    async def scenario() -> None:
        await upgrade(deployment(empty_databases))
        assert await versions(empty_databases) == {"main": [MAIN_HEAD], "credentials": [CREDENTIALS_HEAD]}
        assert await rows(empty_databases, "SELECT name FROM people ORDER BY id") == ["Ann", "Bob 100%"]
        at_head = await catalogs(empty_databases)
        await downgrade(deployment(empty_databases), ["main@m1", "credentials@base"], confirm=agree)
        assert await versions(empty_databases) == {"main": ["m1"], "credentials": []}
        await upgrade(deployment(empty_databases), ["m2"])
        await upgrade(deployment(empty_databases), ["people@+1"])
        assert (await versions(empty_databases))["main"] == ["m2", "m3"]
        await upgrade(deployment(empty_databases), ["billing@head"])
        await upgrade(deployment(empty_databases))
        assert await catalogs(empty_databases) == at_head
        await downgrade(deployment(empty_databases), ["base"], confirm=agree)
        assert not any(any(kinds.values()) for kinds in (await catalogs(empty_databases)).values())

    run(scenario())


@pytest.mark.usefixtures("project")
def test_trees_are_read_as_they_are() -> None:
    files = Deployment(load(environ={}), "main")
    listed = {entry.revision.id: entry.marks for entry in history(files).revisions["main"]}
    assert list(listed) == ["m7", "m6", "m5", "m4", "m3", "m2", "m1"]
    assert {key: marks for key, marks in listed.items() if marks} == {
        "m7": ("head",),
        "m5": ("merge",),
        "m1": ("branch point",),
    }
    assert [entry.revision.id for entry in branches(files).revisions["main"]] == ["m1", "m2", "m3"]
    assert [entry.revision.id for entry in heads(files).revisions["main"]] == ["m7"]
    (shown,) = show(files, ["billing"]).revisions["main"]
    assert (shown.revision.id, shown.revision.down_revisions, shown.revision.labels) == (
        "m2",
        ("m1",),
        ("billing",),
    )
    (shown,) = show(files, ["m7"]).revisions["main"]
    assert "autocommit_block" in str(shown.revision.non_transactional_reason)


def test_from_another_folder_and_by_the_environment(project: Project, tmp_path: Path) -> None:
    """Paths in pyproject.toml are relative to its folder, those in variables to the current directory."""
    deeper = project.folder / "shop" / "deeper"
    deeper.mkdir()
    urls = {"DATABASE_URL": "postgresql://nowhere/main", "CREDS_DATABASE_URL": "postgresql://nowhere/creds"}
    by_file = load(environ=urls, cwd=deeper)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {
        **urls,
        "CIRCLE_MIGRATE_MAIN_REVISIONS": f"../{project.folder.name}/migrations/main",
        "CIRCLE_MIGRATE_CREDENTIALS_REVISIONS": str(project.folder / "migrations/credentials"),
        "CIRCLE_MIGRATE_MAIN_MODELS": "shop.models:Base.metadata",
        "CIRCLE_MIGRATE_CREDENTIALS_MODELS": "shop.secrets:metadata",
    }
    sys.path.append(str(project.folder))
    for settings in (by_file, load(environ=variables, cwd=elsewhere)):
        listed = heads(Deployment(settings)).revisions
        assert {name: [entry.revision.id for entry in entries] for name, entries in listed.items()} == {
            "main": [MAIN_HEAD],
            "credentials": [CREDENTIALS_HEAD],
        }
        tables = [
            [name for metadata in load_models(database.settings) for name in metadata.tables]
            for database in Deployment(settings).databases.values()
        ]
        assert tables == [["people", "invoices"], ["tokens"]]


def write(databases: Databases, message: str, only: str | None = None) -> RevisionFilesResult:
    settings = load(environ=environment(databases))
    place = parse(databases.server.admin_url, source="the test")
    target = Deployment(settings.model_copy(update={"scratch_url": place}), only)
    return run(autogenerate(target, message, Placement(), HAZARDS))


def forget_models() -> None:
    """Import the edited models again, as a new process would."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def assert_formatted(path: Path) -> None:
    """Assert that the project's ruff does not change the file."""
    for check in (["format", "--check"], ["check", "--select", "E9,F", "--ignore", "F401"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + path.read_text(encoding="utf-8")


@pytest.mark.thorough
def test_autogenerate_writes_one_file_for_each_database_that_changed(
    empty_databases: Databases, project: Project
) -> None:
    run(upgrade(deployment(empty_databases)))
    assert write(empty_databases, "nothing").revisions == ()

    project.write(
        "shop/types.py",
        """
        from sqlalchemy.types import String, UserDefinedType


        class Email(String):
            cache_ok = True


        class Point(UserDefinedType):
            cache_ok = True

            def get_col_spec(self, **_kw):
                return "point"
        """,
    )
    extra = """
        data: Mapped[dict | None] = mapped_column(JSONB)
        email: Mapped[str | None] = mapped_column(Email(80), index=True)
        place: Mapped[object | None] = mapped_column(Point())
"""
    models = MODELS.replace(
        "    from sqlalchemy.orm", "    from shop.types import Email, Point\n    from sqlalchemy.orm"
    )
    project.write(
        "shop/models.py",
        models.replace(
            "        note: Mapped[str | None]\n", "        note: Mapped[str | None]\n" + extra[1:]
        ),
    )
    forget_models()
    written = write(empty_databases, 'Say "where": 100% of people\'s data')
    (added,) = written.revisions
    assert (added.database, added.down_revisions, written.unchanged) == (
        "main",
        (MAIN_HEAD,),
        ("credentials",),
    )
    path = Path(added.path)
    assert path.parent == project.versions("main")
    text = path.read_text(encoding="utf-8")
    assert "import shop.types\n" in text
    assert "from sqlalchemy.dialects import postgresql\n" in text
    assert_formatted(path)
    before = run(contents(empty_databases))
    run(upgrade(deployment(empty_databases)))
    assert write(empty_databases, "again").revisions == ()
    run(downgrade(deployment(empty_databases), ["main@-1"], confirm=agree))
    assert run(contents(empty_databases)) == before


@pytest.mark.thorough
def test_autogenerate_in_both_databases_at_once(empty_databases: Databases, project: Project) -> None:
    run(upgrade(deployment(empty_databases)))
    project.write("shop/models.py", MODELS.replace("String(50)", "String(160)"))
    project.write(
        "shop/secrets.py", SECRETS.replace('Column("token", Text)', 'Column("token", Text, index=True)')
    )
    forget_models()
    written = write(empty_databases, "both")
    assert [file.database for file in written.revisions] == ["main", "credentials"]
    for file in written.revisions:
        assert_formatted(Path(file.path))
    result = run(upgrade(deployment(empty_databases)))
    assert {action.revision.id for action in result.plan.actions} == {
        revision.id for revision in written.revisions
    }
    assert write(empty_databases, "again").revisions == ()


@pytest.mark.thorough
def test_autogenerate_of_one_database_leaves_the_other_alone(
    empty_databases: Databases, project: Project
) -> None:
    run(upgrade(deployment(empty_databases, "credentials")))
    project.write("shop/secrets.py", SECRETS.replace("Text)", "Text, nullable=False)"))
    forget_models()
    (written,) = write(empty_databases, "stricter", only="credentials").revisions
    assert written.database == "credentials"
    assert run(versions(empty_databases))["main"] is None


def files(project: Project) -> list[str]:
    return sorted(str(path) for path in (project.folder / "migrations").rglob("*.py"))


def test_autogenerate_compares_with_head_only(empty_databases: Databases, project: Project) -> None:
    run(upgrade(deployment(empty_databases), ["main@m6", "credentials@head"]))
    before = files(project)
    with pytest.raises(Refused, match="main has 1 pending revision"):
        write(empty_databases, "too early")
    assert files(project) == before


def test_models_that_cannot_be_loaded(empty_databases: Databases, project: Project) -> None:
    run(upgrade(deployment(empty_databases)))
    before = files(project)
    for text, words in (
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("Base = None", "not a SQLAlchemy MetaData"),
    ):
        project.write("shop/models.py", text)
        forget_models()
        with pytest.raises(SettingsError) as caught:
            write(empty_databases, "models")
        assert words in f"{caught.value.message} {caught.value.detail}"
        assert files(project) == before


def test_empty_revision(empty_databases: Databases, project: Project) -> None:
    target = deployment(empty_databases, "credentials")
    (written,) = revision(target, "Rotate\ttokens / ünicode", Placement(id="c2", label="rotation")).revisions
    assert (written.id, written.down_revisions, written.labels) == ("c2", ("c1",), ("rotation",))
    assert_formatted(Path(written.path))
    run(upgrade(deployment(empty_databases, "credentials")))
    assert run(versions(empty_databases))["credentials"] == ["c2"]


MESSAGES = ['"""', 'ends with "', "back\\slash \\N{", "two\nlines", "${mako} <% %> ##", "'''", "%s", "\\"]


def test_any_message_makes_a_file_that_loads(project: Project) -> None:
    for message in MESSAGES:
        (written,) = revision(Deployment(load(environ={}), "credentials"), message, Placement()).revisions
        assert_formatted(Path(written.path))
        (head,) = heads(Deployment(load(environ={}), "credentials")).revisions["credentials"]
        assert head.revision.id == written.id, message


REFUSED = [
    ("main", Placement(head="m6"), Refused, "--splice"),
    ("main", Placement(head="m99"), UsageError, "m99"),
    ("main", Placement(id="m3"), UsageError, "m3"),
    ("main", Placement(id="x" * 33), UsageError, "32"),
    ("main", Placement(id="a/b"), UsageError, "a/b"),
    ("main", Placement(id="head"), UsageError, "head"),
    ("main", Placement(id="a+1"), UsageError, "a+1"),
    ("main", Placement(label="billing"), UsageError, "billing"),
    ("main", Placement(id="m8", label="m8"), UsageError, "m8"),
    ("main", Placement(depends_on=("m99",)), UsageError, "m99"),
    (None, Placement(), UsageError, "--database"),
]


@pytest.mark.parametrize(("only", "position", "kind", "words"), REFUSED)
def test_revision_without_a_position_is_refused(
    project: Project, only: str | None, position: Placement, kind: type[MigrateError], words: str
) -> None:
    before = files(project)
    with pytest.raises(kind) as caught:
        revision(Deployment(load(environ={}), only), "nowhere", position)
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert files(project) == before


def test_second_head_is_created_labelled_and_merged(empty_databases: Databases, project: Project) -> None:
    files_only = Deployment(load(environ={}), "main")
    revision(files_only, "side", Placement(head="m6", splice=True, id="m6a", label="side"))
    with pytest.raises(SeveralHeads, match="2 heads: ") as caught:
        run(upgrade(deployment(empty_databases)))
    assert "circle-migrate merge" in str(caught.value.hint)
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}
    with pytest.raises(SeveralHeads):
        revision(Deployment(load(environ={}), "main"), "where?", Placement())
    run(upgrade(deployment(empty_databases), ["heads"]))
    assert run(versions(empty_databases))["main"] == ["m6a", "m7"]

    (merged,) = merge(Deployment(load(environ={})), [], None, Placement(id="joined")).revisions
    assert set(merged.down_revisions) == {"m6a", "m7"}
    assert_formatted(Path(merged.path))
    run(upgrade(deployment(empty_databases)))
    assert run(versions(empty_databases))["main"] == ["joined"]
    run(downgrade(deployment(empty_databases), ["m7"], confirm=agree))
    assert run(versions(empty_databases))["main"] == ["m6a", "m7"]
    assert merge(Deployment(load(environ={})), [], None, Placement()).revisions == ()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["m2"], "two revisions"),
        (["m2", "c1"], "two revisions"),
        (["m2", "nonsense"], "nonsense"),
        (["m1", "m7"], "m1 is not a head of main: it is followed by m2, m3"),
        (["m2", "m3"], "m2 is not a head of main: it is followed by m5"),
    ],
)
def test_impossible_merge_is_refused(project: Project, names: list[str], words: str) -> None:
    before = files(project)
    with pytest.raises(MigrateError, match=words):
        merge(Deployment(load(environ={})), names, None, Placement())
    assert files(project) == before


def test_undeclared_autocommit_is_a_segment_of_its_own(project: Project, empty_databases: Databases) -> None:
    result = run(upgrade(deployment(empty_databases), dry_run=True))
    alone = [segment for segment in result.plan.segments if not segment.transactional]
    assert [[action.revision.id for action in segment.actions] for segment in alone] == [["m7"]]


def test_hidden_autocommit_is_refused_and_rolled_back(project: Project, empty_databases: Databases) -> None:
    """A step that leaves its transaction in a helper module is stopped while it runs."""
    project.write(
        "shop/helpers.py",
        HELPERS
        + """

    def commit_behind_our_back():
        with op.get_context().autocommit_block():
            op.execute("CREATE TABLE left_over ()")
    """,
    )
    path = project.revision(
        "credentials",
        "c2",
        "c1",
        "commit_behind_our_back()",
        "pass",
        imports="from shop.helpers import commit_behind_our_back",
    )
    with pytest.raises(Refused, match="c2") as caught:
        run(upgrade(deployment(empty_databases), ["m1", "c2"]))
    assert str(caught.value.location).startswith(str(path))
    assert run(versions(empty_databases)) == {"main": None, "credentials": None}


def test_both_databases_of_two_projects_in_one_process(
    project: Project, empty_databases: Databases, tmp_path: Path
) -> None:
    """`asyncio.gather` over both databases: every table must be in its own database."""

    async def scenario() -> None:
        await asyncio.gather(
            upgrade(deployment(empty_databases, "main")), upgrade(deployment(empty_databases, "credentials"))
        )
        present = await catalogs(empty_databases)
        tables = {name: [row[0] for row in kinds["tables"]] for name, kinds in present.items()}
        assert tables == {"main": ["invoices", "people"], "credentials": ["tokens"]}

    run(scenario())


def test_a_plan_is_checked_while_another_one_runs(project: Project, empty_databases: Databases) -> None:
    """Another run and a rendering overtake a step that awaits its server; each has its own proxies."""
    imported = "from shop.helpers import add_note"
    slow = 'op.execute("SELECT pg_sleep(0.5)")\nadd_note("invoices")'
    project.revision("main", "m8", "m7", slow, "pass", imports=imported)
    project.revision("credentials", "c2", "c1", 'add_note("tokens")', "pass", imports=imported)

    async def later(work: Coroutine[Any, Any, object]) -> None:
        await asyncio.sleep(0.2)
        await work

    async def scenario() -> None:
        await upgrade(deployment(empty_databases, "main"), ["m7"])
        await asyncio.gather(
            upgrade(deployment(empty_databases, "main")),
            later(upgrade(deployment(empty_databases, "credentials"))),
            later(script(deployment(empty_databases), ["credentials@c1:c2"], Direction.UP)),
        )
        assert await versions(empty_databases) == {"main": ["m8"], "credentials": ["c2"]}

    run(scenario())
