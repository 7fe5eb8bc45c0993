"""The next step begins before the server has ended a step; an error of the end is that of its own step."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import MigrationFailed
from tests.deployments import project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

CATCHES = """
try:
    op.execute("SELECT 1")
except Exception:
    pass
"""
TRANSLATES = """
try:
    op.execute("SELECT 1")
except Exception as error:
    raise ValueError("another error") from error
"""
REMOVES = "TRUNCATE circle_migrate.runs CASCADE"


@pytest.mark.parametrize(
    "body",
    [
        "op.execute('SELECT 1')",
        "op.create_table('t', sa.Column('id', sa.Integer))",
        CATCHES,
        TRANSLATES,
        "pass",
        "op.get_bind().connection.driver_connection",
        "op.get_bind().connection.cursor().execute('SELECT 1')",
        "op.get_bind().begin_nested().rollback()",
        "op.get_bind().execution_options(stream_results=True).exec_driver_sql('SELECT 1').all()",
    ],
)
@pytest.mark.parametrize("driver", ["asyncpg", pytest.param("psycopg", marks=pytest.mark.thorough)])
def test_error_of_the_end_is_that_of_its_step(
    project_folder: Path, empty_databases: Databases, body: str, driver: str
) -> None:
    pytest.importorskip(driver)
    shop = Shop(project_folder)
    settings = project_folder / "pyproject.toml"
    heading = "[tool.circle-migrate.databases.main]\n"
    settings.write_text(settings.read_text().replace(heading, f'{heading}driver = "{driver}"\n'))
    shop.add("main", "m1", None, ["CREATE TABLE beside ()"], [])
    shop.add("main", "m2", "m1", [REMOVES], [])
    shop.revision("main", "m3", "m2", body, "pass")
    shop.add("main", "m4", "m3", [], [])
    with pytest.raises(MigrationFailed, match="upgrade m2") as caught:
        run(shop.upgrade(empty_databases))
    assert "a step has removed rows of the journal" in (caught.value.detail or "")
    assert caught.value.state == "main is at base, credentials is at base"
    assert run(rows(empty_databases, "main", "SELECT to_regclass('beside')")) == [(None,)]


def test_message_tells_what_the_failed_step_has_sent(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["SET TRANSACTION READ ONLY"], [])
    shop.add("main", "m2", "m1", ["SELECT 1"], [])
    with pytest.raises(MigrationFailed, match="upgrade m1") as caught:
        run(shop.upgrade(empty_databases))
    assert "read-only by: SET TRANSACTION READ ONLY" in (caught.value.detail or "")


def test_next_step_may_fail_before_it_sends_anything(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    body = """
import asyncpg
from pathlib import Path
attempts = Path(__file__).with_name("attempts")
attempts.write_text(attempts.read_text() + "x" if attempts.exists() else "x")
if attempts.read_text() == "x":
    raise asyncpg.LockNotAvailableError("not now")
"""
    shop.add("main", "m1", None, ["CREATE TABLE beside ()"], [])
    shop.revision("main", "m2", "m1", body, "pass")
    run(shop.upgrade(empty_databases))  # again on the same session
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("m2",)]
