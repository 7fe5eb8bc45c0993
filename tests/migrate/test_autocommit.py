"""Steps that declare `transactional = False` run in autocommit mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import MigrationFailed
from tests.deployments import project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

DECLARED = "transactional = False"
PROCEDURE = """
CREATE TABLE t (id int, v int);
INSERT INTO t SELECT g FROM generate_series(1, 3) g;
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..3 LOOP UPDATE t SET v = i WHERE id = i; COMMIT; END LOOP; END $$;
"""


def test_statements_that_commit_run_without_a_block(project_folder: Path, empty_databases: Databases) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, [PROCEDURE], [])
    body = """
op.execute("CALL fill()")
op.create_index("t_v", "t", ["v"], postgresql_concurrently=True)
assert op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar() == "4s"
with op.get_context().autocommit_block():
    op.execute("REINDEX INDEX CONCURRENTLY t_v")
op.get_bind().commit()
op.execute("VACUUM (ANALYZE) t")
op.execute("BEGIN; UPDATE t SET v = v + 1; COMMIT")
"""
    shop.revision(
        "main", "m2", "m1", body, 'op.drop_index("t_v", "t", postgresql_concurrently=True)', more=DECLARED
    )
    shop.add("main", "m3", "m2", ["ALTER TABLE t ADD note text"], ["ALTER TABLE t DROP note"])
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT v FROM t ORDER BY id")) == [(2,), (3,), (4,)]
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("m3",)]
    run(shop.downgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t_v')")) == [(None,)]


@pytest.mark.parametrize("last", ["SELECT 1", "SELECT 1 / 0"])
def test_transaction_that_a_step_leaves_open_is_rolled_back(
    project_folder: Path, empty_databases: Databases, last: str
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["BEGIN", "CREATE TABLE t (id int)", last], [], more=DECLARED)
    with pytest.raises(MigrationFailed):
        run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t')")) == [(None,)]
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM alembic_version")) == [(0,)]
    outcome = "SELECT outcome FROM circle_migrate.runs"
    assert run(rows(empty_databases, "main", outcome)) == [("failed",)]


def test_lock_timeout_is_back_after_a_block(project_folder: Path, empty_databases: Databases) -> None:
    shop = Shop(project_folder)
    body = """
op.execute("CREATE TABLE t (v int)")
with op.get_context().autocommit_block():
    with op.get_context().autocommit_block():
        op.create_index("t_v", "t", ["v"], postgresql_concurrently=True)
op.execute("CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS value")
"""
    shop.revision("main", "m1", None, body, "pass")
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT value FROM seen")) == [("4s",)]
