"""docs/alembic.md: from a project of `alembic init` to circle-migrate, and back."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.deployments import execute, invoke, project_folder
from tests.servers import Databases, run

__all__ = ["project_folder"]

PAGE = (Path(__file__).parents[2] / "docs" / "alembic.md").read_text(encoding="utf-8")
REVISION = """
from alembic import op
revision, down_revision = "{0}", {1}
def upgrade():
    op.execute("CREATE TABLE {0} ()")
def downgrade():
    op.execute("DROP TABLE {0}")
"""


def block(language: str) -> str:
    match = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert match
    return match[1]


def alembic(*arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


ENVIRONMENT = """
import os
from shop.models import Base
config.set_main_option("sqlalchemy.url", os.environ["SHOP_DATABASE_URL"].replace("%", "%%"))
target_metadata = Base.metadata
"""
MODELS = """
from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

tables = [Table(name, Base.metadata) for name in ("r1", "r2", "r3")]
"""


@pytest.mark.thorough
def test_a_new_project_of_alembic_moves_here_and_back(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(empty_databases.urls["main"]).set(drivername="postgresql+asyncpg")
    monkeypatch.setenv("SHOP_DATABASE_URL", url.render_as_string(hide_password=False))
    alembic("init", "-t", "async", "migrations")
    env = project_folder / "migrations" / "env.py"
    env.write_text(env.read_text().replace("target_metadata = None\n", ENVIRONMENT), encoding="utf-8")
    (project_folder / "shop").mkdir()
    (project_folder / "shop" / "models.py").write_text(MODELS, encoding="utf-8")
    for key, down in (("r1", None), ("r2", "r1"), ("r3", "r2")):
        path = project_folder / "migrations" / "versions" / f"{key}.py"
        path.write_text(REVISION.format(key, repr(down)), encoding="utf-8")
    alembic("upgrade", "r1")
    assert invoke(["adopt", "--write"]).status == 0
    assert (project_folder / "pyproject.toml").read_text(encoding="utf-8") == block("toml")
    assert "r3" in invoke(["plan"]).stdout
    assert invoke(["check", "--files-only"]).status == 0
    upgraded = invoke(["upgrade", "--safety", "off"])
    assert upgraded.status == 0, upgraded.stderr
    assert "r3 (head)" in alembic("current")
    assert "No new upgrade operations detected" in alembic("check")
    alembic("downgrade", "r2")
    alembic("upgrade", "head")
    run(execute(empty_databases, "main", block("sql")))
    alembic("downgrade", "r1")
    alembic("upgrade", "head")
    assert "No new upgrade operations detected" in alembic("check")
    assert invoke(["current"]).status == 0


@pytest.mark.thorough
def test_two_databases_of_one_environment_move_here_and_back(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    alembic("init", "-t", "multidb", "migrations")
    ini = project_folder / "alembic.ini"
    text = ini.read_text(encoding="utf-8")
    for section, name in {"engine1": "main", "engine2": "credentials"}.items():
        url = make_url(empty_databases.urls[name]).set(drivername="postgresql+psycopg")
        address = url.render_as_string(hide_password=False)
        text = re.sub(
            rf"(\[{section}\]\nsqlalchemy.url = ).*",
            lambda match, url=address: match[1] + url.replace("%", "%%"),
            text,
        )
        monkeypatch.setenv(f"{section.upper()}_DATABASE_URL", address)
    ini.write_text(text, encoding="utf-8")
    for key, down in (("r1", ""), ("r2", "r1")):
        alembic("revision", "-m", key, "--rev-id", key, *(["--head", down] if down else []))
        (path,) = (project_folder / "migrations" / "versions").glob(f"{key}_*.py")
        source = re.sub(
            r"(def (upgrade|downgrade)_(engine\d)\(\).*\n)",
            lambda match, key=key: (
                f"{match[1]}    op.execute('{'CREATE' if match[2] == 'upgrade' else 'DROP'} TABLE"
                f" {key}_{match[3]}{' ()' if match[2] == 'upgrade' else ''}')\n"
            ),
            path.read_text(encoding="utf-8"),
        )
        path.write_text(source, encoding="utf-8")
    alembic("upgrade", "r1")
    assert invoke(["adopt", "--write"]).status == 0
    assert "engine2" in invoke(["plan"]).stdout
    upgraded = invoke(["upgrade", "--safety", "off"])
    assert upgraded.status == 0, upgraded.stderr
    assert alembic("current").count("r2 (head)") == 2
    alembic("downgrade", "base")
    alembic("upgrade", "head")
    assert "r2" in invoke(["current"]).stdout
