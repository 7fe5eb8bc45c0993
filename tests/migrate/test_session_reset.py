"""Every step begins with the constraints and settings of a new session."""

from __future__ import annotations

from pathlib import Path

import pytest

from circle_migrate.core.errors import MigrateError, MigrationFailed
from circle_migrate.revision_graph.plan import TransactionMode
from tests.deployments import environment, project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]


def test_pending_events_end_with_their_step(project_folder: Path, empty_databases: Databases) -> None:
    shop = Shop(project_folder)
    tables = [
        "CREATE TABLE grp (id int PRIMARY KEY); INSERT INTO grp VALUES (1)",
        "CREATE TABLE member (id int, grp int REFERENCES grp DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TABLE seat (nr int UNIQUE DEFERRABLE); INSERT INTO seat VALUES (1), (2)",
    ]
    shop.add("main", "m1", None, tables, [])
    shop.add("main", "m2", "m1", ["INSERT INTO member VALUES (1, 1)", "UPDATE seat SET nr = nr + 1"], [])
    shop.add("main", "m3", "m2", ["ALTER TABLE member ADD note text; ALTER TABLE seat ADD note text"], [])
    later = ["INSERT INTO member VALUES (2, 2)", "INSERT INTO grp VALUES (2)", "DROP TABLE seat"]
    shop.add("main", "m4", "m3", later, [])
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT count(*) FROM member")) == [(2,)]


def test_deferred_check_of_the_last_row_fails_before_any_commit(
    project_folder: Path, empty_databases: Databases
) -> None:
    """The row of the version table is written after the constraints of its step were checked."""
    refuse = "BEGIN RAISE EXCEPTION 'not today'; END"
    trigger = "CREATE CONSTRAINT TRIGGER refused AFTER INSERT OR UPDATE ON alembic_version"
    check = [
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {refuse} $$",
        f"{trigger} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
    ]
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE people (id int)"], [])
    shop.add("credentials", "c1", None, [], [])
    shop.add("credentials", "c2", "c1", check, [])
    with pytest.raises(MigrateError, match="constraint does not hold after upgrade c2"):
        run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('people')")) == [(None,)]


def test_constraint_that_is_initially_immediate_stays_so(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    shop.add(
        "main", "m1", None, ["CREATE TABLE seat (nr int UNIQUE DEFERRABLE); INSERT INTO seat VALUES (1)"], []
    )
    body = """
try:
    with op.get_bind().begin_nested():
        op.execute("INSERT INTO seat VALUES (1)")
except sa.exc.IntegrityError:
    op.execute("CREATE TABLE refused ()")
"""
    shop.revision("main", "m2", "m1", body, "pass")
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT to_regclass('refused') IS NOT NULL")) == [(True,)]


def test_step_that_leaves_a_constraint_violated_is_named(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    trigger = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no rows'; END $$;
CREATE TABLE t (a int);
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse();
"""
    shop.add("main", "m1", None, [trigger], [])
    shop.add("main", "m2", "m1", ["INSERT INTO t VALUES (1)"], [])
    shop.add("main", "m3", "m2", ["DROP TABLE t CASCADE"], [])
    with pytest.raises(
        MigrationFailed, match="a deferred constraint does not hold after upgrade m2"
    ) as caught:
        run(shop.upgrade(empty_databases))
    assert "no rows" in (caught.value.detail or "")
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t')")) == [(None,)]


def test_constraint_that_a_function_has_created_unseen(
    project_folder: Path, empty_databases: Databases
) -> None:
    shop = Shop(project_folder)
    function = """
CREATE FUNCTION make() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
EXECUTE 'CREATE TABLE grp (id int PRIMARY KEY, top int REFERENCES grp INITIALLY DEF' || 'ERRED)';
END $$
"""
    shop.add("main", "m1", None, [function], [])
    shop.add("main", "m2", "m1", ["SELECT make()", "INSERT INTO grp VALUES (2, 1), (1, NULL)"], [])
    shop.add("main", "m3", "m2", ["ALTER TABLE grp ADD note text", "INSERT INTO grp VALUES (4, 3)"], [])
    shop.add("main", "m4", "m3", ["INSERT INTO grp VALUES (3, NULL)"], [])
    with pytest.raises(MigrationFailed, match="does not hold after upgrade m3"):
        run(shop.upgrade(empty_databases))


TRIGGER = """
CREATE TABLE t (id int, who text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.t SET who = current_setting('app.who') || (SELECT min(v) FROM word);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER note AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION note();
CREATE SCHEMA other; CREATE TABLE other.word AS SELECT '!'::text AS v;
"""


@pytest.mark.parametrize(
    ("scope", "more"),
    [
        ("", ""),
        ("LOCAL ", "transactional = False"),
        pytest.param("LOCAL ", "", marks=pytest.mark.thorough),
        pytest.param("", "transactional = False", marks=pytest.mark.thorough),
    ],
)
def test_deferred_triggers_see_the_settings_of_their_step(
    project_folder: Path, empty_databases: Databases, scope: str, more: str
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, [TRIGGER], [])
    steps = [
        f"SET {scope}app.who = 'Eve'",
        f"SET {scope}search_path = other",
        "INSERT INTO public.t VALUES (1)",
    ]
    shop.add(
        "main", "m2", "m1", ["BEGIN; " + "; ".join(steps) + "; COMMIT"] if more else steps, [], more=more
    )
    shop.add("main", "m3", "m2", ["ALTER TABLE t ADD note text"], [])
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT who FROM t")) == [("Eve!",)]


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("op.execute('DEALLOCATE ALL')", ""),
        ("""op.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")""", ""),
        ("op.get_bind().connection.run_async(lambda driver: driver.execute('DEALLOCATE ALL'))", ""),
        ("op.execute('DEALLOCATE ALL')", "transactional = False"),
    ],
)
def test_step_may_deallocate_prepared_statements(
    project_folder: Path, empty_databases: Databases, body: str, more: str
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, [], [])
    shop.add("main", "m2", "m1", [], [])
    shop.revision("main", "m3", "m2", body, "pass", more=more)
    shop.add("main", "m4", "m3", [], [])
    shop.add("main", "m5", "m4", [], [])
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("m5",)]


@pytest.mark.parametrize("mode", TransactionMode)
def test_end_of_steps_is_prepared_once(
    project_folder: Path, empty_databases: Databases, mode: TransactionMode
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (prepared int)"], [])
    for number in range(2, 6):
        shop.add("main", f"m{number}", f"m{number - 1}", [], [])
    count = "INSERT INTO t SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'circle_migrate_%'"
    shop.add("main", "m6", "m5", [count], [])
    run(shop.upgrade(empty_databases, transaction=mode))
    # One inserts the row of the version table, the other changes it.
    assert run(rows(empty_databases, "main", "SELECT prepared FROM t")) == [(2,)]


def test_step_that_goes_on_in_a_failed_transaction(project_folder: Path, empty_databases: Databases) -> None:
    shop = Shop(project_folder)
    body = 'try:\n    op.execute("SELECT 1 / 0")\nexcept sa.exc.DBAPIError:\n    pass'
    shop.revision("main", "m1", None, body, "pass")
    with pytest.raises(MigrationFailed, match=r"upgrade m1 .* failed") as caught:
        run(shop.upgrade(empty_databases))
    assert "25P02" in (caught.value.detail or "")


SETTINGS = [
    "SET LOCAL TIME ZONE 'Asia/Tokyo'",
    "SET datestyle = 'German, DMY'",
    "SET default_transaction_read_only = on",
    "SET SESSION AUTHORIZATION pg_monitor",
    "SET session_replication_role = replica; SET ROLE pg_monitor",
    "SELECT set_config('search_path', 'pg_temp', false)",
    "SET statement_timeout = '1ms'",
    "DO $$ BEGIN PERFORM set_config('app.tenant', '7', false); SET check_function_bodies = off; END $$",
]
_READ = """
SELECT ARRAY[
    current_setting('timezone'), current_setting('datestyle'), current_setting('transaction_read_only'),
    session_user::text, current_setting('search_path'), coalesce(current_setting('app.tenant', true), ''),
    current_setting('check_function_bodies'), current_setting('lock_timeout'), current_user::text,
    current_setting('session_replication_role'), current_setting('statement_timeout')
] AS settings
"""


@pytest.mark.parametrize("more", ["", "transactional = False"])
def test_settings_end_with_their_step(project_folder: Path, empty_databases: Databases, more: str) -> None:
    """After the step of each setting, a step stores what it sees."""
    shop = Shop(project_folder)
    keep = f"CREATE TABLE {{}} AS {_READ}"
    shop.add("main", "first", None, [keep.format("first")], [])
    down = "first"
    for number, setting in enumerate(SETTINGS):
        shop.add("main", f"set{number}", down, [setting], [], more=more)
        down = f"after{number}"
        shop.add("main", down, f"set{number}", [keep.format(down)], [])
    run(shop.upgrade(empty_databases))
    first = run(rows(empty_databases, "main", "SELECT * FROM first"))
    after = {
        setting: run(rows(empty_databases, "main", f"SELECT * FROM after{number}"))
        for number, setting in enumerate(SETTINGS)
    }
    assert after == dict.fromkeys(SETTINGS, first)


def test_settings_of_the_url_stay(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(project_folder)
    options = "options=-c%20app.tenant%3D7%20-c%20work_mem%3D3MB"
    environ = {
        name: f"{value}{'&' if '?' in value else '?'}{options}"
        for name, value in environment(empty_databases).items()
        if "://" in value
    }
    monkeypatch.setattr("tests.faults.shop.environment", lambda _: environ)
    shop.add("main", "m1", None, ["SET app.tenant = '8'; SET work_mem = '9MB'"], [])
    values = "SELECT current_setting('app.tenant') AS tenant, current_setting('work_mem') AS memory"
    shop.add("main", "m2", "m1", [f"CREATE TABLE seen AS {values}"], [])
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT tenant, memory FROM seen")) == [("7", "3MB")]


@pytest.mark.parametrize(
    "body",
    [
        'op.get_bind().execution_options(stream_results=True).execute(sa.text("SELECT * FROM t")).all()',
        'op.get_bind().execute(sa.text("SELECT * FROM t WHERE id = :id"), {"id": 1})',
        'op.get_bind().execute(sa.text("INSERT INTO t VALUES (:id)"), [{"id": 1}, {"id": 2}])',
        'op.get_bind().connection.run_async(lambda driver: driver.fetch("SELECT * FROM t"))',
        'with op.get_bind().begin_nested():\n    op.execute("DELETE FROM t")',
        "pass",
    ],
)
def test_first_statement_sees_the_settings_of_a_step(
    project_folder: Path, empty_databases: Databases, body: str
) -> None:
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (id int)"], [])
    shop.revision("main", "m2", "m1", body, "pass")
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("m2",)]
