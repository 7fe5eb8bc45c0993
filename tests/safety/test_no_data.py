"""What counts as data that a downgrade could lose."""

from __future__ import annotations

import pytest

from circle_migrate.safety.live_database.no_data import databases_with_data
from tests.deployments import deployment, execute
from tests.servers import Databases, run

NO_DATA = """
CREATE TABLE empty (id serial PRIMARY KEY, t text);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM empty;
CREATE MATERIALIZED VIEW later AS SELECT 1 WITH NO DATA;
CREATE VIEW one AS SELECT 1;
CREATE TABLE emptied (id int); INSERT INTO emptied VALUES (1); DELETE FROM emptied;
CREATE SCHEMA other; CREATE TABLE other."Odd one" ();
CREATE SCHEMA circle_kept; CREATE TABLE circle_kept.archive AS SELECT 1;
CREATE SEQUENCE unused;
"""
DATA = {
    "row": "INSERT INTO empty (t) VALUES ('a')",
    "row of a quoted name": 'INSERT INTO other."Odd one" DEFAULT VALUES',
    "partition": "CREATE TABLE part PARTITION OF parted DEFAULT; INSERT INTO parted VALUES (1)",
    "number of a sequence": "SELECT nextval('unused')",
    "large object": "SELECT lo_create(0)",
    "foreign table": "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; "
    "CREATE FOREIGN TABLE remote (id int) SERVER s",
}


@pytest.fixture
def without_data(empty_databases: Databases) -> Databases:
    run(execute(empty_databases, "main", NO_DATA))
    return empty_databases


def with_data(databases: Databases) -> list[str]:
    return run(databases_with_data(deployment(databases).databases.values()))


def test_definitions_are_no_data(without_data: Databases) -> None:
    assert with_data(without_data) == []


@pytest.mark.parametrize("statements", DATA.values(), ids=DATA)
def test_anything_that_a_step_can_delete_is_data(without_data: Databases, statements: str) -> None:
    run(execute(without_data, "main", statements))
    assert with_data(without_data) == ["main"]


def test_a_locked_table_may_have_rows(without_data: Databases) -> None:
    async def scenario() -> list[str]:
        async with without_data.connect("main") as holder, holder.transaction():
            await holder.execute("LOCK TABLE empty")
            return await databases_with_data([deployment(without_data).databases["main"]])

    assert run(scenario()) == ["main"]
