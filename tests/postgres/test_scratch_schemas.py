"""Schemas that the settings name and no revision creates are made in scratch databases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deployments import environment, execute, invoke, project_folder
from tests.faults.shop import Shop
from tests.projects import Project
from tests.servers import Databases, run

__all__ = ["project_folder"]

MODELS = 'import sqlalchemy as sa\nBase = sa.MetaData()\nsa.Table("t", Base, sa.Column("id", sa.Integer))\n'


@pytest.fixture
def project(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    project = Project(project_folder)
    project.write_settings()
    project.write("shop/models.py", MODELS)
    return project


def use(project: Project, settings: str) -> None:
    text = (project.folder / "pyproject.toml").read_text(encoding="utf-8")
    project.write_settings(
        text.replace('models = "shop.models:Base"', f'models = "shop.models:Base"\n{settings}')
    )


def succeed(*arguments: str) -> str:
    answer = invoke(arguments)
    assert answer.status == 0, f"{arguments}: {answer.everything}"
    return answer.stdout


def go_round() -> None:
    """Autogenerate, apply, compare, judge and undo."""
    for line in (
        "revision --autogenerate -m first -d main",
        "upgrade",
        "diff",
        "diff models live -d main",
        "check --models -d main",
        "safety-check --down -- main@-1",
        "downgrade main@-1 -y --no-backup",
        "upgrade",
        "diff",
    ):
        succeed(*line.split())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("settings", "schemas"),
    [
        ('version-table-schema = "Meta data"', ["Meta data"]),
        ('search-path = "App, \\"Odd \\"\\"one\\"\\"\\", public"', ["app", 'Odd "one"']),
        ("search-path = \"'Quoted', pg_temp\"", ["Quoted"]),
        ('search-path = "app, public"\nversion-table-schema = "meta"', ["meta", "app"]),
    ],
)
def test_schemas_of_the_settings(
    project: Project, empty_databases: Databases, settings: str, schemas: list[str]
) -> None:
    use(project, settings)
    quoted = ['"{}"'.format(schema.replace('"', '""')) for schema in schemas]
    run(execute(empty_databases, "main", *(f"CREATE SCHEMA {schema}" for schema in quoted)))
    go_round()


@pytest.mark.thorough
def test_search_path_of_the_url(
    project: Project, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(execute(empty_databases, "main", "CREATE SCHEMA side"))
    url = environment(empty_databases)["DATABASE_URL"]
    monkeypatch.setenv(
        "DATABASE_URL", f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dside,public"
    )
    go_round()


def test_schema_that_a_revision_creates(project: Project) -> None:
    use(project, 'search-path = "app, public"\nversion-table-schema = "public"')
    body = 'op.execute(sa.schema.CreateSchema("app"))\nop.execute("CREATE TABLE t (id int)")'
    project.revision("main", "m1", None, body, 'op.drop_table("t")\nop.execute("DROP SCHEMA app")')
    for line in "upgrade", "diff", "diff models live -d main", "downgrade base -d main -y --no-backup":
        succeed(*line.split())


def test_tables_of_the_whole_search_path_are_shown(project: Project, empty_databases: Databases) -> None:
    use(project, 'search-path = "app, public"\nversion-table-schema = "meta"')
    run(execute(empty_databases, "main", "CREATE SCHEMA app", "CREATE SCHEMA meta"))
    body = 'op.execute("CREATE TABLE t (id int)")\nop.execute("CREATE TABLE public.u (id int)")'
    project.revision("main", "m1", None, body, "pass")
    result = json.loads(succeed("upgrade", "--safety", "off", "--format", "json"))
    assert result["databases"]["main"]["tables"] == ["t", "public.u"]


NOTE_PATH = """
from pathlib import Path
query = "SELECT current_setting('search_path') || current_schemas(false)::text"
path = op.get_bind().exec_driver_sql(query).scalar()
with Path("paths").open("a") as file:
    file.write(path + "\\n")
"""


@pytest.mark.thorough
def test_every_run_of_a_step_has_the_same_path(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces, round trips, rehearsals and expected catalogs are runs, too."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_SEARCH_PATH", '"$user", app, public')
    shop = Shop(project_folder)
    shop.revision("main", "m1", None, f"{NOTE_PATH}\nop.execute('CREATE TABLE t ()')", NOTE_PATH)
    shop.add("credentials", "c1", None, [], [])
    run(execute(empty_databases, "main", "CREATE SCHEMA app"))
    for line in ("safety-check", "upgrade --safety off", "downgrade main@base --rehearse --dry-run"):
        invoke(line.split())
    paths = (project_folder / "paths").read_text().splitlines()
    assert (len(paths) >= 5, set(paths)) == (True, {'"$user", app, public{app,public}'})
