"""What is a statement is decided by running it; words in data, comments, names and bodies are none."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from circle_migrate.core.errors import MigrationFailed
from circle_migrate.migrate.planner import Planner
from circle_migrate.revision_graph.plan import Direction
from tests.deployments import invoke, project_folder
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import Databases, run

__all__ = ["project_folder"]

DECLARED = "transactional = False"

WORDS = {
    "data": "op.execute(\"INSERT INTO t VALUES ('VACUUM cleaner; ALTER TYPE mood ADD VALUE')\")",
    "bulk data": "op.bulk_insert(sa.table('t', sa.column('v')), [{'v': 'Vacuum cleaner'}, {'v': 'Commit'}])",
    "parameter": "op.execute(sa.text('INSERT INTO t VALUES (:v)').bindparams(v='DROP INDEX CONCURRENTLY i'))",
    "variable": "title = 'Drop database or alter system'\nop.execute(sa.select(sa.literal(title)))",
    "comment": "op.execute('/* create index concurrently; */ -- vacuum\\n UPDATE t SET v = v')",
    "names": "op.execute('CREATE TABLE vacuum (commit int, \"reindex concurrently\" int)')",
    "body": "op.execute('CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; "
    "ALTER TYPE mood ADD VALUE x; END $$')",
    "declared": "if False:\n    with op.get_context().autocommit_block():\n        pass",
}


def test_words_end_no_transaction(project_folder: Path, empty_databases: Databases) -> None:
    """Each case is a revision: one transaction has all of them, and is rolled back."""
    shop = Shop(project_folder)
    shop.add("main", "m1", None, ["CREATE TABLE t (v text)"], [])
    down = "op.execute(\"DELETE FROM t WHERE v = 'Vacuum x'\")"
    for number, (case, body) in enumerate(WORDS.items(), 2):
        more = "transactional = True" if case == "declared" else ""
        shop.revision("main", f"m{number}", f"m{number - 1}", body, down, more=more)
    shop.add("credentials", "c1", None, ["SELECT 1 / 0"], [])
    with pytest.raises(MigrationFailed) as caught:
        run(shop.upgrade(empty_databases))
    assert caught.value.state == "main is at base, credentials is at base"
    planner = Planner(shop.deployment(empty_databases), ["head"], Direction.UP)
    (segment,) = planner({"main": (), "credentials": ()}).segments
    assert segment.transactional


STATEMENTS = {
    "procedure": 'op.execute("CALL p()")',
    "do": 'op.execute("DO $$ BEGIN COMMIT; END $$")',
    "cluster": 'op.execute("CLUSTER")',
    "f-string": "word = 'vacuum'\nop.execute(f'{word} (analyze) t')",
    "file": "import pathlib\nop.execute(pathlib.Path(__file__).with_name('body.sql').read_text())",
    "quoted": "op.execute('CREATE INDEX CONCURRENTLY \"a ; b\" ON t (v)')",
    "operation": 'op.create_index("t_v", "t", ["v"], postgresql_concurrently=True)',
}


@pytest.mark.thorough
@pytest.mark.parametrize("case", STATEMENTS)
def test_statement_that_needs_no_transaction_is_named_with_the_remedy(
    project_folder: Path, empty_databases: Databases, case: str
) -> None:
    shop = Shop(project_folder)
    procedure = "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$"
    shop.add("main", "m1", None, [procedure, "CREATE TABLE t (v text)"], [])
    shop.write("migrations/main/versions/body.sql", "REINDEX (VERBOSE) TABLE CONCURRENTLY t")
    path = shop.revision("main", "m2", "m1", STATEMENTS[case], "pass")
    with pytest.raises(MigrationFailed) as caught:
        run(shop.upgrade(empty_databases))
    assert caught.value.status == 10
    assert "write `transactional = False` below `revision`" in str(caught.value.hint)
    assert run(rows(empty_databases, "main", "SELECT to_regclass('t')")) == [(None,)]
    path.write_text(path.read_text().replace("down_revision", f"{DECLARED}\ndown_revision"))
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT version_num FROM alembic_version")) == [("m2",)]


@pytest.mark.parametrize("case", ["procedure", pytest.param("f-string", marks=pytest.mark.thorough)])
def test_statement_is_found_on_the_scratch_copy(
    project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    for name, url in zip(("DATABASE_URL", "CREDS_DATABASE_URL"), empty_databases.urls.values(), strict=True):
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    shop = Shop(project_folder)
    procedure = "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$"
    shop.add("main", "m1", None, [procedure, "CREATE TABLE t (v text)"], [])
    shop.revision("main", "m2", "m1", STATEMENTS[case], "pass")
    answer = invoke(["safety-check"])
    assert answer.status == 5
    assert "CM021" in answer.everything
    assert "transactional = False" in answer.everything


ADDING = {
    "quoted": "op.execute('ALTER TYPE \"a b\" ADD VALUE \\'y\\'')",
    "f-string": "for value in 'yz':\n    op.execute(f'ALTER TYPE \"a b\" ADD VALUE \\'{value}\\'')",
    "variable": "sql = 'SELECT 1; alter type public.\"a b\" add value \\'y\\''\nop.execute(sa.text(sql))",
    "do": "op.execute('DO $$ BEGIN ALTER TYPE \"a b\" ADD VALUE \\'y\\'; END $$')",
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.thorough] * (case == "f-string")) for case in ADDING]
)
def test_value_of_an_enum_is_committed_before_its_use(
    project_folder: Path, empty_databases: Databases, case: str
) -> None:
    shop = enum_shop(project_folder, empty_databases, ADDING[case])
    run(shop.upgrade(empty_databases))
    assert run(rows(empty_databases, "main", "SELECT mood::text FROM t")) == [("y",)]


def test_value_of_an_enum_that_is_added_unseen_is_named(
    project_folder: Path, empty_databases: Databases
) -> None:
    body = "import base64\nop.execute(base64.b64decode({!r}).decode())"
    hidden = base64.b64encode(b"ALTER TYPE \"a b\" ADD VALUE 'y'").decode()
    shop = enum_shop(project_folder, empty_databases, body.format(hidden))
    with pytest.raises(MigrationFailed) as caught:
        run(shop.upgrade(empty_databases))
    assert "55P04" in str(caught.value.detail)
    assert "into the revision that adds the value" in str(caught.value.hint)


def enum_shop(folder: Path, databases: Databases, body: str) -> Shop:
    """Apply the enum's revision, and add one that adds a value and one that uses it."""
    shop = Shop(folder)
    shop.add("main", "m1", None, ["CREATE TYPE \"a b\" AS ENUM ('x')", 'CREATE TABLE t (mood "a b")'], [])
    run(shop.upgrade(databases))
    shop.revision("main", "m2", "m1", body, "pass")
    shop.add("main", "m3", "m2", ["INSERT INTO t VALUES ('y')"], [])
    return shop
