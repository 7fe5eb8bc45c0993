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


@pytest.mark.thorough
def test_a_new_project_of_alembic_moves_here_and_back(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_databases.urls["main"]
    alembic("init", "-t", "async", "migrations")
    ini = project_folder / "alembic.ini"
    address = make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    text = re.sub(
        r"(?m)^sqlalchemy.url = .*", f"sqlalchemy.url = {address.replace('%', '%%')}", ini.read_text()
    )
    ini.write_text(text, encoding="utf-8")
    for key, down in (("r1", None), ("r2", "r1"), ("r3", "r2")):
        (project_folder / "migrations" / "versions" / f"{key}.py").write_text(
            REVISION.format(key, repr(down))
        )
    alembic("upgrade", "r1")
    (project_folder / "pyproject.toml").write_text(block("toml"), encoding="utf-8")
    monkeypatch.setenv("ACCOUNTS_DATABASE_URL", url)
    assert "r3" in invoke(["plan"]).stdout
    assert invoke(["check", "--files-only"]).status == 0
    upgraded = invoke(["upgrade", "--safety", "off"])
    assert upgraded.status == 0, upgraded.stderr
    assert "r3 (head)" in alembic("current")
    run(execute(empty_databases, "main", block("sql")))
    alembic("downgrade", "r1")
    alembic("upgrade", "head")
    assert invoke(["current"]).status == 0
