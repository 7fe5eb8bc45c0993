"""Steps that commit by themselves: the version row is committed, or the failure says what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import HalfApplied, MigrationFailed, Refused
from tests.deployments import RUNS, STEPS, project_folder
from tests.faults.processes import holding
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


@pytest.mark.thorough
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


@pytest.mark.parametrize("how", ["batches", "transaction"])
def test_step_whose_file_commits_has_no_transaction(
    project_folder: Path, empty_databases: Databases, how: str
) -> None:
    shop = Shop(project_folder)
    table(shop)
    shop.revision("main", "m2", "m1", COMMITTING[how], "pass")
    result = run(shop.upgrade(empty_databases))
    assert [segment.transactional for segment in result.plan.segments] == [True, False]
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM t WHERE v = 1")) == [(5,)]


@pytest.mark.parametrize("how", ["cursor", pytest.param("text", marks=pytest.mark.thorough)])
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


ENDING = {
    "commit": 'getattr(op.get_bind(), "commit")()',  # the file shows no call of commit
    "rollback": "op.get_bind().rollback()",
    "text": 'op.execute("COMMIT")',
    "close": "op.get_bind().close()",
    "driver": "op.get_bind().connection.close()",
}


@pytest.mark.thorough
@pytest.mark.parametrize("is_caught", [False, True], ids=["raised", "caught"])
@pytest.mark.parametrize("how", ENDING)
def test_refused_end_is_not_forgotten(
    project_folder: Path,
    empty_databases: Databases,
    capsys: pytest.CaptureFixture[str],
    how: str,
    is_caught: bool,
) -> None:
    """Nothing is committed and the run is closed, also if the step goes on after the refusal."""
    shop = Shop(project_folder)
    table(shop)
    run(shop.upgrade(empty_databases))
    body = f'op.execute("UPDATE t SET v = 1")\n{ENDING[how]}'
    if is_caught:
        caught = f"try:\n    {ENDING[how]}\nexcept Exception:\n    pass"
        body = f'{body.splitlines()[0]}\n{caught}\nop.execute("UPDATE t SET v = 2")'
    shop.revision("main", "m2", "m1", body, "pass")
    with pytest.raises(Refused, match="m2 ends its transaction"):
        run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT count(v) FROM t")) == [(0,)]
    assert run(rows(empty_databases, "main", f"SELECT outcome FROM {RUNS} ORDER BY started_at")) == [
        ("done",),
        ("failed",),
    ]
    assert "Traceback" not in capsys.readouterr().err


DRIVER = """
from sqlalchemy.util import await_only
driver = op.get_bind().connection.driver_connection
"""
SEND = "await_only(driver.execute"
COMMIT = f"op.execute('CREATE TABLE u ()'); {SEND}('COMMIT'))"
UNWATCHED = "what m2 has committed on the driver's connection"
HALF_APPLIED = {
    "block in the middle": (
        'op.add_column("t", sa.Column("town", sa.Text))' + BLOCK + 'op.execute("SELECT 1 / 0")',
        "",
        ["ALTER TABLE t ADD COLUMN town", "INDEX CONCURRENTLY t_v"],
    ),
    "commit and raise": (
        BLOCK.replace("op.create_index", "op.get_bind().commit()\n    op.create_index") + "raise ValueError",
        "",
        ["INDEX CONCURRENTLY t_v"],
    ),
    "declared": (
        'op.execute("CREATE TABLE u (id int); INSERT INTO u VALUES (1)"); op.execute("SELECT 1 / 0")',
        DECLARED,
        ["CREATE TABLE u", "INSERT INTO u"],
    ),
    "function": (
        'op.execute("SELECT grow()"); op.execute("SELECT 1 / 0")',
        DECLARED,
        ["SELECT grow()"],
    ),
    "procedure": ('op.execute("CALL shrink()")', DECLARED, ["a part of CALL shrink()"]),
    "invalid index": (
        'op.create_index("t_w", "t", ["w"], unique=True, postgresql_concurrently=True)',
        DECLARED,
        ["the INVALID index public.t_w"],
    ),
    "open transaction": (
        'op.execute("CREATE TABLE u ()"); op.execute("BEGIN"); op.execute("CREATE TABLE undone ()")',
        DECLARED,
        ["CREATE TABLE u ()"],
    ),
    "transaction after transaction": (
        'op.execute("BEGIN; CREATE TABLE u (); COMMIT AND CHAIN"); op.execute("CREATE TABLE undone ()")',
        DECLARED,
        ["CREATE TABLE u ()"],
    ),
    **{
        f"driver {name}": (f"{DRIVER}\n{body}", "", [stays])
        for name, (body, stays) in {
            "at the end": (COMMIT, "CREATE TABLE u ()"),
            "in the middle": (f'{COMMIT}; op.execute("CREATE TABLE undone ()")', "CREATE TABLE u ()"),
            "and an error": (f"{COMMIT}; raise ValueError", "CREATE TABLE u ()"),
            "and a refusal": (f'{COMMIT}; op.execute("COMMIT")', "CREATE TABLE u ()"),
            "alone": (f"{SEND}('CREATE TABLE u (); COMMIT'))", UNWATCHED),
            "and another": (f"{COMMIT[:-3]} AND CHAIN')); raise ValueError", UNWATCHED),
        }.items()
    },
    "closed connection": (
        'with op.get_bind() as connection:\n    connection.exec_driver_sql("CREATE TABLE u ()")',
        DECLARED,
        ["CREATE TABLE u ()"],
    ),
}
_QUICK_HALF_APPLIED = (
    "block in the middle",
    "declared",
    "procedure",
    "invalid index",
    "transaction after transaction",
    "driver in the middle",
    "closed connection",
)
ROUTINES = """
CREATE TABLE t (id int, v int, w int);
INSERT INTO t SELECT g, NULL, 1 FROM generate_series(1, 5) g;
CREATE FUNCTION grow() RETURNS void LANGUAGE sql AS 'INSERT INTO t VALUES (6)';
CREATE PROCEDURE shrink() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM t; COMMIT; RAISE 'no'; END $$;
"""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.thorough] * (case not in _QUICK_HALF_APPLIED))
        for case in HALF_APPLIED
    ],
)
def test_half_applied_is_said(project_folder: Path, empty_databases: Databases, case: str) -> None:
    body, more, stays = HALF_APPLIED[case]
    shop = Shop(project_folder)
    shop.add("main", "m1", None, [ROUTINES], [])
    run(shop.upgrade(empty_databases))
    path = shop.revision("main", "m2", "m1", body, "pass", more=more)
    with pytest.raises(HalfApplied) as caught:
        run(shop.upgrade(empty_databases))
    error = caught.value
    assert error.status == 8
    assert str(error.location).startswith(str(path))
    state = str(error.state)
    assert state.startswith("main is at m1, credentials is at base; m2 is half applied, these stay: ")
    for text in stays:
        assert text in state
    assert "undone" not in state
    assert "rolled back" not in f"{error.message} {error.detail} {state} {error.hint}"


NOT_APPLIED = {
    "first statement": ('op.execute("ALTER TABLE nowhere ADD a int")', DECLARED),
    "reads": (
        'op.execute("SELECT count(*) FROM t"); op.execute("SET work_mem = \'9MB\'; SELECT 1 / 0")',
        DECLARED,
    ),
    "rolled back": ('op.execute("BEGIN; CREATE TABLE u (); ROLLBACK"); raise ValueError', DECLARED),
    "before its block": ('op.execute("CREATE TABLE u ()"); op.execute("SELECT 1 / 0")' + BLOCK, ""),
    "open after a rollback": (
        'op.execute("BEGIN; CREATE TABLE u (); ROLLBACK AND CHAIN"); op.execute("SELECT 1")',
        DECLARED,
    ),
    "rolled back by the driver": (f"{DRIVER}\n{COMMIT.replace('COMMIT', 'ROLLBACK')}", ""),
    "left open by the driver": (f"{DRIVER}\n{SEND}('CREATE TABLE u ()')); raise ValueError", ""),
    "another connection": ("op.get_bind().engine.connect()", DECLARED),
    "generator": ('yield op.execute("CREATE TABLE u ()")', DECLARED),
    "no index": ('op.create_index("t_v", "nowhere", ["v"], postgresql_concurrently=True)', DECLARED),
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", NOT_APPLIED)
def test_step_that_leaves_nothing_has_failed(
    project_folder: Path, empty_databases: Databases, case: str
) -> None:
    body, more = NOT_APPLIED[case]
    shop = Shop(project_folder)
    shop.add("main", "m1", None, [ROUTINES], [])
    run(shop.upgrade(empty_databases))
    shop.revision("main", "m2", "m1", body, "pass", more=more)
    with pytest.raises(MigrationFailed) as caught:
        run(shop.upgrade(empty_databases))
    assert caught.value.status == 10
    assert caught.value.location
    assert caught.value.hint
    assert caught.value.state == "main is at m1, credentials is at base"
    assert run(rows(empty_databases, "main", "SELECT to_regclass('u')")) == [(None,)]


def test_lock_that_is_not_obtained_after_a_commit(project_folder: Path, empty_databases: Databases) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, [ROUTINES], [])
    run(shop.upgrade(empty_databases))
    shop.add("main", "m2", "m1", ["CREATE TABLE u ()", "ALTER TABLE t ADD a int"], [], more=DECLARED)

    async def scenario() -> None:
        async with holding(empty_databases, "main", "LOCK t"):
            with pytest.raises(HalfApplied) as caught:
                await shop.upgrade(empty_databases, lock_timeout="300ms")
            assert "55P03" in str(caught.value.detail)
            assert "these stay: CREATE TABLE u ()" in str(caught.value.state)
            assert "attempt" not in caught.value.message

    run(scenario())
