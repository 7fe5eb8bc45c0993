"""Steps that commit by themselves: the version row is committed, or the failure says what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.database import STEPS
from tests.deployments import project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

DECLARED = "transactional = False"
BLOCK = """
with op.get_context().autocommit_block():
    op.create_index("t_v", "t", ["v"], postgresql_concurrently=True)
"""
BATCHES = """
bind = op.get_bind()
while bind.exec_driver_sql(
    "UPDATE t SET v = 1 WHERE id IN (SELECT id FROM t WHERE v IS NULL LIMIT 2)"
).rowcount:
    bind.commit()
"""
ORM_SESSION = """
from sqlalchemy.orm import Session
with Session(bind=op.get_bind()) as session:
    session.execute(sa.text("UPDATE t SET v = 1"))
    session.commit()
"""
CURSOR = """
connection = op.get_bind().connection
cursor = connection.cursor()
cursor.execute("UPDATE t SET v = 1")
connection.commit()
"""
TRANSACTION = """
op.get_bind().commit()
with op.get_bind().begin():
    op.execute("UPDATE t SET v = 1")
"""
TEXT = 'op.execute("COMMIT"); op.execute("UPDATE t SET v = 1"); op.execute("BEGIN; SELECT 1; COMMIT")'
COMMITTING = {
    "batches": BATCHES,
    "session": ORM_SESSION,
    "cursor": CURSOR,
    "transaction": TRANSACTION,
    "text": TEXT,
}


def table(shop: Shop) -> None:
    """Add the revision of the table that the others change."""
    shop.add(
        "main", "m1", None, ["CREATE TABLE t (id int, v int); INSERT INTO t SELECT generate_series(1, 5)"], []
    )


@pytest.mark.parametrize("more", ["", DECLARED], ids=["undeclared", "declared"])
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("how", COMMITTING)
def test_version_row_is_committed(
    project_folder: Path, empty_databases: Databases, how: str, order: str, more: str
) -> None:
    shop = Shop(project_folder)
    table(shop)
    parts = [COMMITTING[how], BLOCK]
    shop.revision("main", "m2", "m1", "".join(parts if order == "before" else parts[::-1]), "pass", more=more)
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("m2",)]
    assert run(rows(empty_databases, "main", f"SELECT revision FROM {STEPS} ORDER BY id")) == [
        ("m1",),
        ("m2",),
    ]
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM t WHERE v = 1")) == [(5,)]
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t_v') IS NOT NULL")) == [(True,)]


@pytest.mark.parametrize("how", ["batches", "cursor", "transaction", "text"])
def test_step_in_a_transaction_is_refused_before_it_commits(
    project_folder: Path, empty_databases: Databases, how: str
) -> None:
    shop = Shop(project_folder)
    table(shop)
    run(shop.upgrade(empty_databases))
    path = shop.revision("main", "m2", "m1", COMMITTING[how], "pass")
    with pytest.raises(Refused, match="ends its transaction") as caught:
        run(shop.upgrade(empty_databases))
    assert str(caught.value.location).startswith(str(path))
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM t WHERE v = 1")) == [(0,)]
    path.write_text(path.read_text().replace("down_revision", f"{DECLARED}\ndown_revision"))  # the hint
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM t WHERE v = 1")) == [(5,)]
