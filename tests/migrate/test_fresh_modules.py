"""Every run of a revision begins with the module as its file leaves it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.deployments import invoke, project_folder
from tests.faults.processes import holding
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

COUNT = """
runs.append(1)
op.execute(f"INSERT INTO counted VALUES ({len(runs)})")
"""


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name, url in zip(("DATABASE_URL", "CREDS_DATABASE_URL"), empty_databases.urls.values(), strict=True):
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    monkeypatch.syspath_prepend(project_folder)
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE counted (runs int)", "CREATE TABLE busy ()"], [])
    run(shop.upgrade(empty_databases))
    return shop


def counted(databases: Databases) -> list[int]:
    return [row[0] for row in run(rows(databases, "main", "SELECT runs FROM counted"))]


STATES = {
    "module": "runs = []",
    "folder": "from migrations.main.state import runs",
    "package": "from migrations.main import state; runs = state.runs",
}


@pytest.mark.thorough
@pytest.mark.parametrize("state", STATES)
def test_state_is_not_shared_between_runs(shop: Shop, empty_databases: Databases, state: str) -> None:
    """Runs on scratch databases, the way back and the runs themselves are in one process."""
    shop.write("migrations/main/state.py", "runs = []\n")
    shop.revision("main", "m2", "m1", COUNT, COUNT, imports=STATES[state])
    assert invoke(["upgrade", "--safety", "require"]).status == 0
    assert invoke(["downgrade", "main@m1", "--yes", "--no-backup"]).status == 0
    assert counted(empty_databases) == [1, 1]


def test_another_attempt_is_another_run(shop: Shop, empty_databases: Databases) -> None:
    shop.revision("main", "m2", "m1", COUNT, "pass", imports="runs = []")
    shop.add("main", "m3", "m2", ["ALTER TABLE busy ADD a int"], [])

    async def scenario() -> None:
        async with holding(empty_databases, "main", "LOCK busy") as holder:

            def retried(*_: object) -> None:
                holder.terminate()

            await shop.upgrade(
                empty_databases,
                lock_timeout="300ms",
                notify=lambda event: retried() if event.kind.name == "RETRY" else None,
            )

    run(scenario())
    assert counted(empty_databases) == [1]


@pytest.mark.thorough
def test_what_stands_outside_of_the_folder_is_not_loaded_again(
    shop: Shop, empty_databases: Databases
) -> None:
    """A revision may define a table in the metadata of the application, which then exists."""
    shop.write("shop/tables.py", "import sqlalchemy\nmetadata = sqlalchemy.MetaData()\n")
    shop.write("migrations/main/site-packages/installed.py", "import sqlalchemy\n")
    sys.path.append(str(shop.folder / "migrations" / "main" / "site-packages"))
    imports = """
import installed
from shop.tables import metadata
counted = sa.Table("counted", metadata, sa.Column("runs", sa.Integer))
"""
    insert = "op.execute(counted.insert().values(runs=7))"
    shop.revision("main", "m2", "m1", insert, insert, imports=imports)
    run(shop.upgrade(empty_databases))
    tables, installed = (sys.modules[name] for name in ("shop.tables", "installed"))
    assert invoke(["downgrade", "main@m1", "--yes", "--no-backup"]).status == 0
    run(shop.upgrade(empty_databases))
    assert counted(empty_databases) == [7, 7, 7]
    assert (sys.modules["shop.tables"], sys.modules["installed"]) == (tables, installed)


def test_table_is_defined_in_every_run(shop: Shop, empty_databases: Databases) -> None:
    body = """
table = sa.Table("counted", metadata, sa.Column("runs", sa.Integer))
op.execute(table.insert().values(runs={}))
"""
    shop.revision("main", "m2", "m1", body.format(1), body.format(2), imports="metadata = sa.MetaData()")
    run(shop.upgrade(empty_databases))
    assert invoke(["downgrade", "main@m1", "--yes", "--no-backup"]).status == 0
    assert counted(empty_databases) == [1, 2]
