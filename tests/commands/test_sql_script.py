"""`--sql`: psql runs the script to the same catalog and version that the command itself reaches."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.sql_script import script
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import MigrateError, Refused, UsageError
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.embedded.binaries import find, find_embedded
from circle_migrate.revision_graph.plan import Direction
from tests import old_script
from tests.deployments import agree, catalogs, contents, deployment, environment, execute, versions
from tests.projects import Project
from tests.servers import NAMES, Databases, run


@pytest.fixture(scope="session")
def psql() -> Path:
    """The real psql; the test is skipped where the machine has none."""
    try:
        binaries = max(find_embedded().items())[1]
    except MigrateError:
        try:
            binaries = find()
        except MigrateError as error:
            pytest.skip(error.message)
    return binaries.program("psql")


Psql = Callable[..., None]


@pytest.fixture
def feed(psql: Path) -> Psql:
    """Runs a script on one database of a test, or with a psql variable for each of them."""

    def run_script(databases: Databases, sql: str, name: str | None = None) -> None:
        command = [str(psql), "-X", "-q"]
        if name is None:
            command += [part for name in NAMES for part in ("-v", f"{name}={databases.urls[name]}")]
            command.append(databases.urls["main"])
        else:
            command.append(databases.urls[name])
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run_script


def offline(only: str | None = None) -> Deployment:
    """The trees without a single URL: whoever asks a server fails."""
    return Deployment(load(environ={}), only)


def write(target: Deployment, *texts: str, up: bool = True) -> str:
    return run(script(target, texts, Direction.UP if up else Direction.DOWN)).text


@pytest.mark.parametrize("together", [True, False])
def test_script_from_nothing_needs_no_server(
    empty_databases: Databases, migrated_databases: Databases, feed: Psql, together: bool
) -> None:
    if together:
        feed(empty_databases, write(offline(), "base:head"))
    else:
        for name in NAMES:
            feed(empty_databases, write(offline(name), f"{name}@base:head"), name)
    assert run(contents(empty_databases)) == run(contents(migrated_databases))


def test_script_from_where_the_databases_really_are(
    create_databases: Callable[..., Databases], migrated_databases: Databases, feed: Psql
) -> None:
    """One was built by the old script half-way, the other is empty."""
    field = create_databases()

    async def build() -> None:
        async with field.connect("main") as connection:
            await old_script.build(connection, "main", "a930217cd080")

    run(build())
    before = run(contents(field))
    sql = write(deployment(field), "head")
    assert run(contents(field)) == before, "writing a script changes nothing"
    feed(field, sql)
    assert run(contents(field)) == run(contents(migrated_databases))


@pytest.mark.parametrize(
    "texts",
    [["base"], pytest.param(["-2"], marks=pytest.mark.thorough), ["main@c4198e875dd0", "credentials@-1"]],
    ids=str,
)
def test_downgrade_script(
    create_databases: Callable[..., Databases], head_template: Databases, feed: Psql, texts: list[str]
) -> None:
    scripted, commanded = create_databases(head_template), create_databases(head_template)
    feed(scripted, write(deployment(scripted), *texts, up=False))
    run(downgrade(deployment(commanded), texts, confirm=agree))
    assert run(contents(scripted)) == run(contents(commanded))


def test_downgrade_script_without_a_server(migrated_databases: Databases, feed: Psql) -> None:
    feed(migrated_databases, write(offline(), "head:base", up=False))
    by_database = run(catalogs(migrated_databases))
    assert [any(kinds.values()) for kinds in by_database.values()] == [False, False]
    assert run(versions(migrated_databases)) == {"main": [], "credentials": []}


def test_script_of_nothing_does_nothing(migrated_databases: Databases, feed: Psql) -> None:
    before = run(contents(migrated_databases))
    sql = write(deployment(migrated_databases), "head")
    assert "nothing to do" in sql
    feed(migrated_databases, sql)
    assert run(contents(migrated_databases)) == before


def test_script_that_fails_half_way_stops_there(empty_databases: Databases, psql: Path) -> None:
    """What stands after the failing statement must not run: psql by itself would go on."""
    run(execute(empty_databases, "main", "CREATE TABLE permissions ()"))
    command = [str(psql), "-X", "-q", empty_databases.urls["main"]]
    sql = write(offline("main"), "main@base:head")
    done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'relation "permissions" already exists' in done.stderr
    assert run(versions(empty_databases))["main"] in (None, [])


@pytest.mark.parametrize("text", ["head:", ":head", "base:nonsense", "head:base"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        write(offline(), text)


def test_span_that_leads_back_is_no_upgrade() -> None:
    with pytest.raises(UsageError, match="main: no upgrade leads from FROM to TO in b37f:dca7"):
        write(offline(), "b37f:dca7")


@pytest.fixture
def project(project_folder: Path) -> Project:
    """A project of one table whose revisions a test completes."""
    project = Project(project_folder)
    project.write_settings()
    project.revision("credentials", "c1", None, "pass", "pass")
    return project


def test_percent_signs_and_colons_arrive_as_they_are_written(
    empty_databases: Databases, feed: Psql, project: Project
) -> None:
    project.revision(
        "main",
        "m1",
        None,
        """op.create_table("notes", sa.Column("text", sa.Text, server_default="100 %"))
op.execute("INSERT INTO notes VALUES ('50% off: 10%s %(x)s \\\\:main')")
op.execute("CREATE VIEW odd AS SELECT text FROM notes WHERE text LIKE '%off%' AND length(text) % 2 >= 0")
op.bulk_insert(sa.table("notes", sa.column("text", sa.Text)), [{"text": "5% 'quoted' :name"}])
op.execute(sa.text("INSERT INTO notes VALUES (:text)").bindparams(text="it's :bound"))""",
        "pass",
    )
    feed(empty_databases, write(Deployment(load(environ={}), "main"), "base:head"), "main")

    async def texts() -> list[str]:
        async with empty_databases.connect("main") as connection:
            await connection.execute("INSERT INTO notes DEFAULT VALUES")
            assert await connection.fetchval("SELECT count(*) FROM odd") == 1
            return [row[0] for row in await connection.fetch("SELECT text FROM notes")]

    assert run(texts()) == ["50% off: 10%s %(x)s :main", "5% 'quoted' :name", "it's :bound", "100 %"]


def test_step_that_cannot_be_written_as_sql_is_named(project: Project) -> None:
    """A column without a type, in bulk_insert: nobody can know how its values are written."""
    body = 'op.bulk_insert(sa.table("notes", sa.column("text")), [{"text": "value"}])'
    path = project.revision("main", "m1", None, body, "pass")
    with pytest.raises(MigrateError, match="m1") as caught:
        write(Deployment(load(environ={}), "main"), "base:head")
    assert str(caught.value.location).startswith(f"{path}:")


READS = {
    "a result": 'for row in op.get_bind().execute(sa.text("SELECT 1")):\n    pass',
    "a scalar": 'op.get_bind().execute(sa.text("SELECT 1")).scalar()',
    "the inspector": "sa.inspect(op.get_bind()).get_table_names()",
}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body, id=name, marks=[pytest.mark.thorough] * (name == "a scalar"))
        for name, body in READS.items()
    ],
)
def test_revision_that_reads_while_it_runs_has_no_script(
    empty_databases: Databases, project: Project, body: str
) -> None:
    path = project.revision("main", "m1", None, body, "pass")
    with pytest.raises(Refused, match="m1 fails or reads the database") as caught:
        write(Deployment(load(environ={}), "main"), "base:head")
    line = 1 + path.read_text(encoding="utf-8").splitlines().index("    " + body.splitlines()[0])
    assert caught.value.location == f"{path}:{line}"
    run(upgrade(Deployment(load(environ=environment(empty_databases)), "main")))
