"""`adopt`: what becomes of Alembic's files, and what is written into pyproject.toml."""

from __future__ import annotations

import inspect
import json
import textwrap
import tomllib
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext

from circle_migrate.commands.adopt import options
from circle_migrate.commands.adopt.adopt import adopt
from circle_migrate.commands.adopt.result import AdoptResult
from circle_migrate.core.errors import UsageError
from tests.deployments import invoke, project_folder

__all__ = ["project_folder"]

INI = "[alembic]\nscript_location = %(here)s/migrations\n"
ENV = """
from alembic import context
{imports}
raise AssertionError("env.py was run")
{code}
def run_migrations_online():
    {body}
    context.configure(connection=connection, target_metadata={metadata}, {options})
run_migrations_online()
"""
MODELS = """
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

class Base(DeclarativeBase):
    metadata = metadata

class Plain(DeclarativeBase):
    pass

def everything():
    return metadata
"""
SETTINGS = """
import os
from pydantic_settings import BaseSettings

class Settings(BaseSettings):
    model_config = {"env_prefix": "SHOP_"}
    database_url: str
    dsn: str = Field(alias="SHOP_DSN")

settings = Settings()
ADDRESS = os.environ["ADDRESS_URL"]
SCHEMA = "sales"
"""
REVISION = "revision, down_revision = 'm1', None\ndef upgrade(): pass\n"
FILTERS = "def include(*arguments):\n    return True\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(textwrap.dedent(text).lstrip("\n").encode())


def project(folder: Path, ini: str = INI, **parts: str) -> None:
    """Write a project with one environment, whose env.py has these parts."""
    given = {"imports": "", "code": "", "body": "pass", "metadata": "None", "options": "", **parts}
    write(
        folder,
        {
            "alembic.ini": ini,
            "migrations/env.py": ENV.format(**given),
            "migrations/versions/m1.py": REVISION,
            "shop/__init__.py": "",
            "shop/models.py": MODELS,
            "shop/tables.py": "from shop.models import Base\n",
            "shop/settings.py": SETTINGS,
            "shop/filters.py": FILTERS,
            "shop/one.py": "from shop.two import *\n",
            "shop/two.py": "from shop.one import *\n",
        },
    )


def found(folder: Path, *paths: str, write: bool = False) -> AdoptResult:
    return adopt(folder, [Path(path) for path in paths], {}, write=write)


class Case(NamedTuple):
    """Parts of an env.py, the settings that follow, and the beginnings of points as "state subject: text"."""

    parts: dict[str, str]
    settings: Mapping[str, Any] = MappingProxyType({})
    points: tuple[str, ...] = ()
    shared: Mapping[str, Any] = MappingProxyType({})


MODELS_OF = "from shop.models import Base"
CASES = {
    "a variable": Case(
        {"imports": "import os", "code": "url = os.environ['SHOP_URL']"},
        {"url-env": "SHOP_URL"},
        ('set url: url-env = "SHOP_URL"',),
    ),
    "the variable of the default": Case(
        {"imports": "import os", "code": "url = os.getenv('DATABASE_URL', 'postgresql://u:hunter2@h/d')"},
        points=("holds url: read from DATABASE_URL",),
    ),
    "a field of settings": Case(
        {
            "imports": "from shop.settings import settings",
            "code": "context.config.set_main_option('sqlalchemy.url', str(settings.database_url))",
        },
        {"url-env": "SHOP_DATABASE_URL"},
    ),
    "a field with an alias": Case(
        {"imports": "from shop import settings as s", "code": "engine = create_engine(s.settings.dsn)"},
        {"url-env": "SHOP_DSN"},
    ),
    "a function of env.py": Case(
        {
            "imports": "from shop.settings import settings",
            "code": "def url():\n    return settings.dsn\ncreate_engine(url())",
        },
        {"url-env": "SHOP_DSN"},
    ),
    "a constant of a module": Case(
        {"imports": "from shop.settings import ADDRESS", "code": "create_engine(ADDRESS)"},
        {"url-env": "ADDRESS_URL"},
    ),
    "a URL in parts": Case(
        {"imports": "import os", "code": "u, h = os.environ['POSTGRES_USER'], os.environ['POSTGRES_HOST']"},
        points=("by hand url: set DATABASE_URL: env.py makes the URL from POSTGRES_USER and POSTGRES_HOST",),
    ),
    "a computed URL": Case(
        {"imports": "from app import vault", "code": "create_engine(vault.url('hunter2'))"},
        points=("by hand url: set DATABASE_URL: env.py makes the URL from vault.url('…')",),
    ),
    "a base class": Case(
        {"imports": MODELS_OF, "metadata": "Base.metadata"},
        {"models": "shop.models:Base.metadata"},
        (
            'set target_metadata: models = "shop.models:Base.metadata"',
            "holds naming convention: constraints of revisions get its names",
        ),
    ),
    "a module of models": Case(
        {
            "imports": "from shop import models",
            "code": "target = models.Plain.metadata",
            "metadata": "target",
        },
        {"models": "shop.models:Plain.metadata"},
        ("holds naming convention: that of the models is used, if they have one",),
    ),
    "a function": Case(
        {"imports": "from shop.models import everything", "metadata": "everything()"},
        {"models": "shop.models:everything"},
        ("holds naming convention: constraints of revisions get its names",),
    ),
    "a star": Case(
        {"imports": "from shop.tables import *", "metadata": "[Base.metadata]"},
        {"models": "shop.tables:Base.metadata"},
        ("holds naming convention: constraints of revisions get its names",),
    ),
    "a MetaData of env.py": Case(
        {"code": "from sqlalchemy import MetaData\nmine = MetaData()", "metadata": "mine"},
        points=('by hand target_metadata: set models = "package.module:attribute" to what MetaData() is',),
    ),
    "a naming convention of env.py": Case(
        {"imports": MODELS_OF, "code": "Base.metadata.naming_convention = {}", "metadata": "Base.metadata"},
        {"models": "shop.models:Base.metadata"},
        ("by hand naming convention: is set in env.py, which is not run",),
    ),
    "imports for their effect": Case(
        {"imports": f"{MODELS_OF}\nimport shop.tables\nimport json", "metadata": "Base.metadata"},
        {"models": "shop.models:Base.metadata"},
        ('set import shop.tables: imports = ["shop.tables"], for all databases',),
        {"imports": ["shop.tables"]},
    ),
    "a module of models below one that is used": Case(
        {"imports": "import shop.models\nimport shop.tables", "metadata": "shop.models.Base.metadata"},
        {"models": "shop.models:Base.metadata"},
        shared={"imports": ["shop.tables"]},
    ),
    "stars in a circle": Case(
        {"imports": "from shop.one import *", "metadata": "Nothing.metadata"},
        points=(
            'by hand target_metadata: set models = "package.module:attribute" to what Nothing.metadata is',
        ),
        shared={"imports": ["shop.one"]},
    ),
    "an import that is missing": Case(
        {"imports": "import not_installed"},
        points=(
            "by hand import not_installed: add it to the setting imports; the package not_installed has",
        ),
    ),
    "version table": Case(
        {
            "imports": "from shop.settings import SCHEMA",
            "options": "version_table='v', version_table_schema=SCHEMA",
        },
        {"version-table": "v", "version-table-schema": "sales"},
    ),
    "a computed version table": Case(
        {"options": "version_table=name + '_v'"},
        points=("by hand version_table: set version-table: its value name + '…' only follows from running",),
    ),
    "options by **": Case(
        {"code": "OPTIONS = dict(version_table='v', compare_type=True)", "options": "**OPTIONS"},
        {"version-table": "v"},
        ("holds compare_type: types are compared",),
    ),
    "unknown options by **": Case(
        {"options": "**app.options, tenant=1"},
        points=(
            "by hand context.configure: its options only follow from running env.py: look for them in app.o",
            "by hand tenant: is no option of Alembic",
        ),
    ),
    "filters of a module": Case(
        {
            "imports": "from shop.filters import include",
            "options": "include_object=include, include_name=include",
        },
        {"include-object": "shop.filters:include", "include-name": "shop.filters:include"},
    ),
    "a filter of env.py": Case(
        {"code": "def mine(*arguments): return True", "options": "include_object=mine"},
        points=("by hand include_object: is in env.py, which is not run: move it to a module",),
    ),
    "comparisons": Case(
        {"options": "include_schemas=True, compare_type=False, compare_server_default=True"},
        {"include-schemas": True, "compare-type": False},
        ("holds compare_server_default: defaults are compared",),
    ),
    "one schema": Case({"options": "include_schemas=False"}, {"include-schemas": False}),
    "no empty revisions": Case(
        {
            "code": "def skip(context, revision, directives):\n    if directives[0].upgrade_ops.is_empty():\n"
            "        directives[:] = []\n        logger.info('none')",
            "options": "process_revision_directives=skip",
        },
        points=("holds process_revision_directives: no revision is written where nothing has changed",),
    ),
    "other options": Case(
        {"options": "render_as_batch=True, render_item=r, user_module_prefix='t.', transactional_ddl=False"},
        points=(
            "holds render_as_batch: on PostgreSQL",
            "by hand render_item: ",
            "by hand user_module_prefix: ",
            "by hand transactional_ddl: write `transactional = False`",
        ),
    ),
    "transactions": Case(
        {"code": "USE_TWOPHASE = True", "options": "transaction_per_migration=True"},
        shared={"transaction": "per-revision", "atomic": True},
    ),
    "statements": Case(
        {
            "body": "connection.execute(text('SET lock_timeout = 2000'))\n"
            "    connection.execute('SET search_path TO sales, public')\n"
            "    connection.execute('SELECT pg_advisory_lock(1)')\n"
            "    connection.execute('SET ROLE owner')\n"
            "    connection.execute(sa.schema.CreateSchema('sales'))\n"
            "    connection.execute(\"ALTER ROLE a PASSWORD 'hunter2'\")",
        },
        {"search-path": "sales, public"},
        (
            "holds advisory lock: ",
            "by hand SET ROLE: ",
            "by hand CREATE SCHEMA: create the schema in a revision",
            "by hand statement: is not run: ALTER ROLE a PASSWORD '…'",
        ),
        {"lock-timeout": "2s"},
    ),
    "tenants": Case(
        {
            "code": "tenant = context.get_x_argument(as_dictionary=True).get('tenant')\n"
            "for schema in schemas:\n    context.configure(version_table_schema=schema)\n",
            "body": "connection.execute(f'SET search_path TO {tenant}')\n"
            "    connection.execution_options(schema_translate_map={None: tenant})",
        },
        points=(
            "by hand -x: -x is passed to revisions",
            "by hand loop: runs revisions in each round",
            "by hand search_path: set search-path",
            "by hand schema_translate_map: ",
            "by hand version_table_schema: set version-table-schema",
        ),
    ),
    "code": Case(
        {
            "imports": "from dotenv import load_dotenv",
            "code": "load_dotenv()\nregister_entities([a])\n@event.listens_for(Engine, 'connect')\n"
            "def listen(*arguments): pass\nconnection = context.config.attributes.get('connection')",
        },
        points=(
            "holds load_dotenv: ",
            "by hand code: register_entities is not run",
            "by hand event: ",
            "holds config.attributes: ",
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_part_of_env_py_has_its_point(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    project(tmp_path, **case.parts)
    result = found(tmp_path)
    (database,) = result.databases
    assert database.settings == {"revisions": "alembic.ini", **case.settings}
    assert result.settings == case.shared
    points = [f"{point.state} {point.subject}: {point.text}" for point in database.points]
    for beginning in case.points:
        assert any(point.startswith(beginning) for point in points), points
    assert "hunter2" not in str(result)
    assert all(point.location or point.subject in ("url", "naming convention") for point in database.points)


def test_models_in_folders_of_prepend_sys_path(project_folder: Path) -> None:
    write(
        project_folder,
        {
            "backend/alembic.ini": f"{INI}prepend_sys_path = .\n",
            "backend/migrations/env.py": "from alembic import context\nfrom app import Base\n"
            "context.configure(target_metadata=Base.metadata)\n",
            "backend/migrations/versions/m1.py": REVISION,
            "backend/app.py": MODELS,
            "pyproject.toml": "",
        },
    )
    (database,) = found(project_folder, write=True).databases
    assert database.settings["models"] == "app:Base.metadata"
    assert invoke(["heads"]).status == 0


def test_every_option_of_alembic_is_known() -> None:
    parameters = set(inspect.signature(EnvironmentContext.configure).parameters)
    assert parameters - {"self", "kw"} <= options.CONFIGURE.keys() | options.WITHOUT_POINT


def test_points_name_the_line_and_the_settings_of_the_ini_file(tmp_path: Path) -> None:
    ini = INI + "sqlalchemy.url = postgresql://u:hunter2@h/d\n# file_template = x\nfile_template = %%(rev)s\n"
    project(tmp_path, ini + "sourceless = true\ntimezone =\n[post_write_hooks]\nhooks = ruff\n")
    (database,) = found(tmp_path).databases
    points = {(point.subject, point.location): point.text for point in database.points}
    assert points["file_template", "alembic.ini:5"]
    assert points["sourceless", "alembic.ini:6"] == "a compiled revision without its source is refused"
    assert points["post_write_hooks", "alembic.ini:9"]
    urls = [point.text for point in database.points if point.subject == "sqlalchemy.url"]
    assert [text.partition(":")[0] for text in urls] == ["set DATABASE_URL to it", "has a password"]
    assert not any(subject == "timezone" for subject, _ in points)


@pytest.mark.parametrize("url", ["$SHOP_URL", "${SHOP_URL}", "%(SHOP_URL)s"])
def test_url_that_env_py_expands(url: str, tmp_path: Path) -> None:
    project(tmp_path, f"{INI}sqlalchemy.url = {url}\n")
    result = adopt(tmp_path, (), {"SHOP_URL": "postgresql://u:hunter2@h/d"}, write=False)
    assert result.databases[0].settings["url-env"] == "SHOP_URL"
    assert not any(command.startswith("export") for command in result.commands)
    assert "hunter2" not in str(result)
    assert "export SHOP_URL=postgresql://USER:PASSWORD@HOST:5432/DATABASE" in found(tmp_path).commands


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("op.get_bind().exec_driver_sql('SELECT %s', (1,))", "psycopg"),
        ("op.execute('SELECT 1')", None),
    ],
)
def test_driver_is_that_of_the_revisions(tmp_path: Path, text: str, driver: str | None) -> None:
    project(tmp_path)
    write(tmp_path, {"migrations/versions/m2.py": f"def upgrade():\n    {text}\n"})
    (database,) = found(tmp_path).databases
    assert database.settings.get("driver") == driver


LAYOUTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "folders": (
        {
            "app/db/orders/alembic.ini": INI,
            "app/db/orders/migrations/env.py": "",
            "app/db/billing/alembic.ini": INI,
            "app/db/billing/migrations/env.py": "",
            ".venv/pyvenv.cfg": "",
            ".venv/lib/alembic.ini": INI,
            "env/pyvenv.cfg": "",
            "env/alembic.ini": INI,
            "env/migrations/env.py": "",
            "node_modules/x/alembic.ini": INI,
        },
        {"billing": "app/db/billing/alembic.ini", "orders": "app/db/orders/alembic.ini"},
    ),
    "sections": (
        {
            "alembic.ini": "[DEFAULT]\nscript_location = gone\n[logger_root]\nlevel = WARN\n"
            "[orders]\nscript_location = orders/migrations\n"
            "[billing]\nscript_location = billing/migrations\n",
            "orders/migrations/env.py": "",
            "billing/migrations/env.py": "",
        },
        {"orders": "alembic.ini:orders", "billing": "alembic.ini:billing"},
    ),
    "ini files": (
        {
            "alembic.ini": "[alembic]\nscript_location = one/migrations\n",
            "alembic_billing.ini": "[alembic]\nscript_location = two/migrations\n",
            "alembic-test.ini": "[alembic]\nscript_location = one/migrations\n",
            "one/migrations/env.py": "",
            "two/migrations/env.py": "",
            "setup.ini": "no section\n",
        },
        {"one": "alembic.ini", "billing": "alembic_billing.ini"},
    ),
    "multidb": (
        {
            "alembic.ini": INI + "databases = users, app\n[users]\n[app]\n",
            "migrations/env.py": "",
        },
        {"users": "alembic.ini", "app": "alembic.ini"},
    ),
    "pyproject": (
        {
            "pyproject.toml": "[tool.alembic]\nscript_location = '%(here)s/migrations'\n",
            "migrations/env.py": "",
        },
        {"main": "migrations"},
    ),
    "env.py alone": (
        {
            "shop/migrations/env.py": "from alembic import context\n",
            "shop/migrations/versions/m1.py": REVISION,
            "template/env.py": "from alembic import context\n",
            "other/env.py": "import os\n",
            "other/versions/a.py": "",
        },
        {"shop": "shop/migrations"},
    ),
    "package": (
        {
            "alembic.ini": "[alembic]\nscript_location = shop:migrations\n",
            "shop/__init__.py": "",
            "shop/migrations/env.py": "",
        },
        {"shop": "alembic.ini"},
    ),
    "folders of a package": (
        {
            "alembic.ini": "[alembic]\nscript_location = shop:db:migrations\n",
            "shop/__init__.py": "",
            "shop/db/migrations/env.py": "",
        },
        {"shop": "alembic.ini"},
    ),
    "relative to the current folder": (
        {"conf/alembic.ini": "[alembic]\nscript_location = migrations\n", "migrations/env.py": ""},
        {"main": "conf/alembic.ini"},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_environments_are_found_and_named(name: str, project_folder: Path) -> None:
    files, names = LAYOUTS[name]
    write(project_folder, files)
    for path in project_folder.rglob("migrations"):
        (path / "versions").mkdir(exist_ok=True)
    result = found(project_folder, write=True)
    assert {database.name: database.settings["revisions"] for database in result.databases} == names
    assert [point.location for point in result.points if point.subject == "file"] == []
    assert result.written
    assert invoke(["heads"]).status == 0  # the settings can be loaded
    assert found(project_folder).diff == ""


def test_databases_of_one_environment_have_variables_and_models_of_their_own(tmp_path: Path) -> None:
    project(
        tmp_path,
        f"{INI}databases = users, orders\n",
        imports="import os\nfrom shop.models import Base, Plain",
        code="urls = [os.environ['USERS_URL'], os.environ['THE_ORDERS_URL']]\n"
        "models = {'users': Base.metadata, 'orders': Plain.metadata}",
        metadata="models[name]",
    )
    users, orders = found(tmp_path).databases
    assert (users.settings["url-env"], orders.settings["url-env"]) == ("USERS_URL", "THE_ORDERS_URL")
    assert users.settings["models"] == "shop.models:Base.metadata"
    assert orders.settings["models"] == "shop.models:Plain.metadata"


def test_other_files_of_an_environment_are_named(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["ini files"][0])
    points = [point for database in found(tmp_path).databases for point in database.points]
    assert [point.location for point in points if "same environment" in point.text] == ["alembic-test.ini"]


def test_paths_restrict_what_is_adopted(tmp_path: Path) -> None:
    write(tmp_path, LAYOUTS["folders"][0])
    assert [database.name for database in found(tmp_path, "app/db/orders").databases] == ["orders"]
    assert [item.name for item in found(tmp_path, "app/db/billing/alembic.ini").databases] == ["billing"]


def test_databases_with_one_url_get_two(tmp_path: Path) -> None:
    env = "import os\nfrom alembic import context\nurl = os.environ['APP_URL']\n"
    files = LAYOUTS["folders"][0]
    write(tmp_path, files | {path: env for path in files if path.endswith("env.py")})
    billing, orders = found(tmp_path).databases
    assert billing.settings["url-env"] == "APP_URL"
    assert orders.settings["url-env"] == "ORDERS_DATABASE_URL"
    assert any("APP_URL is the URL of billing" in point.text for point in orders.points)


TEXTS = {
    "no file": "",
    "comments": "# a comment\n[project]\nname = 'x'  # the name\n\n[tool.ruff]\na = 9\n[b]\na = [ 1,2 ]\n",
    "no newline": "[tool.ruff]\na = 1",
    "tables apart": "[tool.a]\nx = 1\n[other]\ny = 1\n[tool.b]\nz = 1\n[[tool.c]]\nd = 1\n",
    "tables behind": "[tool.a]\nx = 1\n\n[other]\ny = 1\n",
    "dotted": "tool.ruff.a = 1\n",
    "own table": "[tool.circle-migrate]\natomic = true # all\n\n[tool.x]\n",
    "own databases": (
        "[tool.circle-migrate.databases.o] # 1\nrevisions = 'o'\n[tool.circle-migrate]\nlock-wait = 3\n"
    ),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_pyproject_keeps_all_that_it_has(name: str, newline: str, project_folder: Path) -> None:
    project(project_folder, options="transaction_per_migration=True")
    (project_folder / "o").mkdir()
    file = project_folder / "pyproject.toml"
    if TEXTS[name]:
        file.write_bytes(TEXTS[name].replace("\n", newline).encode())
    result = found(project_folder, write=True)
    assert result.written
    text = file.read_bytes().decode()
    if TEXTS[name]:
        assert text.count(newline) == text.count("\n")
    lines = text.splitlines()
    assert [line for line in TEXTS[name].splitlines() if line not in lines] == []
    assert [line for line in result.diff.splitlines()[3:] if line.startswith("-")] in ([], ["-a = 1"])
    own = tomllib.loads(text)["tool"]["circle-migrate"]
    assert own["databases"]["main"] == {"revisions": "alembic.ini"}
    assert own["transaction"] == "per-revision"
    assert "# from alembic.ini and migrations/env.py" in lines
    if name == "tables behind":
        database = "[tool.circle-migrate.databases.main]\n# from alembic.ini and migrations/env.py\n"
        added = (
            f'[tool.circle-migrate]\ntransaction = "per-revision"\n\n{database}revisions = "alembic.ini"\n\n'
        )
        assert text.replace("\r", "") == TEXTS[name].replace("[other]", f"{added}[other]")
    again = found(project_folder, write=True)
    assert (again.written, again.diff) == (False, "")


def test_nothing_that_exists_is_overwritten(project_folder: Path) -> None:
    text = (
        "[tool.circle-migrate]\ntransaction = 'all'\nimports = ['json']\nlock-timeout = '5s'\n"
        "[tool.circle-migrate.databases.shop]\nrevisions = 'migrations'\nurl-env = 'MINE'\n"
        "models = 'shop.models:Plain.metadata'\n"
    )
    write(project_folder, {"pyproject.toml": text})
    project(
        project_folder,
        imports="import os, shop.tables\nfrom shop.models import *",
        metadata="Base.metadata",
        code="url = os.environ['SHOP_URL']",
        options="transaction_per_migration=True, version_table='v'",
        body="connection.execute('SET lock_timeout = 5000')",
    )
    result = found(project_folder, write=True)
    (shop,) = result.databases
    assert (shop.name, shop.exists, shop.settings, result.settings) == (
        "shop",
        True,
        {"version-table": "v"},
        {},
    )
    texts = {point.text for point in shop.points}
    assert 'pyproject.toml says url-env = "MINE", not "SHOP_URL"' in texts
    assert any(text.startswith('pyproject.toml says models = "shop.models:Plain.m') for text in texts)
    assert not any("imports" in text and "shop.models" in text for text in texts)
    assert 'pyproject.toml says transaction = "all", not "per-revision"' in texts
    assert 'pyproject.toml says imports = ["json"], not ["shop.tables"]' in texts
    assert 'lock-timeout = "5s" is set already' in texts
    written = (project_folder / "pyproject.toml").read_text(encoding="utf-8")
    assert written == text + 'version-table = "v"\n'

    write(project_folder, {"pyproject.toml": "[tool.circle-migrate]\nimports = 3"})
    texts = {point.text for point in found(project_folder).databases[0].points}
    assert 'pyproject.toml says imports = 3, not ["shop.tables"]' in texts


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "there is no Alembic environment in"),
        ({"alembic.ini": "[alembic]\nscript_location = gone\n"}, "there is no Alembic environment in"),
        (
            {"pyproject.toml": "tool = {circle-migrate = {}}\n", "alembic.ini": INI, "migrations/env.py": ""},
            "the settings cannot be added to pyproject.toml",
        ),
        ({"pyproject.toml": "[tool\n", "alembic.ini": INI, "migrations/env.py": ""}, "is not valid TOML"),
    ],
)
def test_what_cannot_be_adopted_is_refused(files: dict[str, str], words: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    with pytest.raises(UsageError, match=words):
        found(tmp_path, write=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"alembic.ini", "pyproject.toml", "migrations"}


def test_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*nowhere"):
        found(tmp_path, "nowhere")


def test_files_that_cannot_be_read_are_named_without_their_text(tmp_path: Path) -> None:
    write(
        tmp_path, {"alembic.ini": INI, "migrations/env.py": "print 'hunter2'\n", "b/alembic.ini": "hunter2\n"}
    )
    result = found(tmp_path)
    assert [point.location for point in result.points] == ["b/alembic.ini"]
    assert any("cannot be read" in point.text for point in result.databases[0].points)
    assert "hunter2" not in str(result)


def test_file_is_restored_if_the_settings_cannot_be_loaded(project_folder: Path) -> None:
    text = "[tool.circle-migrate]\nlock-wait = 'soon'\n"
    write(project_folder, {"pyproject.toml": text})
    project(project_folder)
    answer = invoke(["adopt", "--write"])
    assert (answer.status, "pyproject.toml is as it was" in answer.stderr) == (2, True)
    assert (project_folder / "pyproject.toml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("template", ["generic", "async", "multidb", "pyproject", "pyproject_async"])
def test_new_projects_of_alembic(template: str, project_folder: Path) -> None:
    config = Config(
        project_folder / "alembic.ini",
        toml_file=project_folder / "pyproject.toml",
        stdout=StringIO(),
    )
    command.init(config, str(project_folder / "migrations"), template=template)
    names = ["engine1", "engine2"] if template == "multidb" else ["main"]
    shown = invoke(["adopt"])
    assert shown.status == 0, shown.stderr
    assert "nothing was written" in shown.stdout
    variable = "ENGINE1_DATABASE_URL" if template == "multidb" else "DATABASE_URL"
    assert f"\n  by hand  url: set {variable}: no file says the address\n" in shown.stdout
    assert f"\n  export {variable}=postgresql://USER" in shown.stdout
    result = json.loads(invoke(["adopt", "--write", "--format", "json"]).stdout)
    assert [database["name"] for database in result["databases"]] == names
    assert result["written"]
    assert invoke(["heads"]).stdout.split() == [word for name in names for word in (f"{name}:", "none")]
    assert invoke(["adopt"]).stdout.count("pyproject.toml has all of it already") == 1
