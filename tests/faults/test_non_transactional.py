"""Steps that cannot run in a transaction have a segment of their own and can be run again after kill -9."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import pytest

from circle_migrate.core.errors import Refused
from circle_migrate.migrate.planner import Planner
from circle_migrate.migrate.run import describe
from circle_migrate.revision_graph.plan import Direction
from tests.deployments import Answer, versions
from tests.faults.processes import holding, started, until
from tests.faults.shop import TABLES, Shop
from tests.faults.states import outcomes, rows, steps
from tests.servers import Databases, run

INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_people')"
BUILDING = "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for%'"
NOBODY_WORKS = "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"

HELPER = "ensure_index_concurrently(op, 'ix_people', 'people', ['id'])"
HELPER_IMPORT = "from circle_migrate.indexes import ensure_index_concurrently"
RAW = """
with op.get_context().autocommit_block():
    op.create_index("ix_people", "people", ["id"], postgresql_concurrently=True)
"""
RAW_IF_NOT_EXISTS = RAW.replace("True)", "True, if_not_exists=True)")
DECLARED = "transactional = False"


@dataclass(frozen=True)
class Way:
    """A form of a revision that builds an index concurrently."""

    upgrade: str
    imports: str = ""
    more: str = ""


WAYS = {
    "helper": Way(HELPER, HELPER_IMPORT, DECLARED),
    "helper, undeclared": Way(HELPER, HELPER_IMPORT),
    "raw": Way(RAW, more=DECLARED),
    "raw, undeclared": Way(RAW),
}


def write(shop: Shop, way: Way) -> None:
    """Two plain revisions, one between them that builds the index, and a plain second tree."""
    shop.add("main", "m1", None, ["CREATE TABLE people (id integer)"], ["DROP TABLE people"])
    shop.revision(
        "main",
        "m2",
        "m1",
        way.upgrade,
        "op.drop_index('ix_people')",
        imports=way.imports,
        more=way.more,
    )
    shop.add("main", "m3", "m2", ["ALTER TABLE people ADD name text"], ["ALTER TABLE people DROP name"])
    shop.add("credentials", "c1", None, ["CREATE TABLE secrets (id integer)"], ["DROP TABLE secrets"])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_step_has_a_segment_of_its_own(own_shop: Shop, databases: Databases, way: Way) -> None:
    write(own_shop, way)
    deployment = own_shop.deployment(databases)
    plan = Planner(deployment, ["head"], Direction.UP)({"main": (), "credentials": ()})
    shown = [([describe(action).split()[1] for action in s.actions], s.transactional) for s in plan.segments]
    assert (["m2"], False) in shown
    assert all(transactional for actions, transactional in shown if actions != ["m2"])
    outcome = run(own_shop.upgrade(databases))
    assert outcome.plan == plan
    assert run(rows(databases, "main", INDEX)) == [(True,)]
    assert run(steps(databases))["main"] == [("up", "m1"), ("up", "m2"), ("up", "m3")]


HIDDEN = """
def build(op):
    with op.get_context().autocommit_block():
        op.create_index("ix_people", "people", ["id"], postgresql_concurrently=True)
"""


def test_commit_in_a_helper_module_is_refused_before_the_run(
    own_shop: Shop, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(own_shop.folder)
    own_shop.write("shop/hidden.py", HIDDEN)
    write(own_shop, Way("hidden.build(op)", "from shop import hidden"))
    with pytest.raises(Refused, match="m2 uses autocommit_block and does not declare") as caught:
        run(own_shop.upgrade(databases))
    assert "transactional = False" in (caught.value.hint or "")
    assert run(versions(databases)) in ({"main": None, "credentials": None}, {"main": [], "credentials": []})
    for name, table in TABLES.items():
        assert run(rows(databases, name, f"SELECT to_regclass('{table}')")) == [(None,)]
    write(own_shop, Way("hidden.build(op)", "from shop import hidden", DECLARED))
    run(own_shop.upgrade(databases))
    assert run(rows(databases, "main", INDEX)) == [(True,)]


async def kill_while_building(shop: Shop, databases: Databases) -> None:
    """Kill -9 the process while its build waits for an older transaction; wait until the server notices."""
    with started(databases, shop.folder, "upgrade", "main@m1") as process:
        assert process.end().status == 0
    async with holding(databases, "main", "INSERT INTO people VALUES (1)"):
        with started(databases, shop.folder, "upgrade", "main@head") as process:
            await until(databases, "main", BUILDING)
            process.popen.kill()
            assert process.end().status == -signal.SIGKILL
        await until(databases, "main", NOBODY_WORKS)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "way",
    [WAYS["helper"], pytest.param(WAYS["helper, undeclared"], marks=pytest.mark.thorough)],
    ids=["declared", "undeclared"],
)
def test_killed_build_is_built_again(own_shop: Shop, databases: Databases, way: Way) -> None:
    write(own_shop, way)
    run(kill_while_building(own_shop, databases))
    assert run(rows(databases, "main", INDEX)) == [(False,)]
    assert run(versions(databases))["main"] == ["m1"]

    run(own_shop.upgrade(databases))

    assert run(rows(databases, "main", INDEX)) == [(True,)]
    assert run(steps(databases))["main"] == [("up", "m1"), ("up", "m2"), ("up", "m3")]
    assert run(outcomes(databases))["main"] == ["done", "lost", "done"]
    assert run(steps(databases))["credentials"] == [("up", "c1")]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "body", [RAW, pytest.param(RAW_IF_NOT_EXISTS, marks=pytest.mark.thorough)], ids=["plain", "if_not_exists"]
)
def test_killed_raw_build_never_counts_as_done(own_shop: Shop, databases: Databases, body: str) -> None:
    write(own_shop, Way(body, more=DECLARED))
    run(kill_while_building(own_shop, databases))
    assert run(rows(databases, "main", INDEX)) == [(False,)]

    with started(databases, own_shop.folder, "upgrade") as process:
        answer = process.end()

    valid = run(rows(databases, "main", INDEX)) == [(True,)]
    assert valid or (answer.status != 0 and "ix_people" in answer.stderr), answer
    assert ("up", "m2") not in run(steps(databases))["main"] or valid


UNNAMED = "CREATE INDEX CONCURRENTLY ON people (id)"
BUILDS = {
    "no name": f"op.execute({UNNAMED!r})",
    "connection": f"op.get_bind().exec_driver_sql({UNNAMED!r})",
    "U&": r"""op.execute('CREATE INDEX CONCURRENTLY U&"p\\0069" ON U&"peopl\\0065" (id)')""",
    "quotes": """op.execute('CREATE INDEX CONCURRENTLY "a""b" ON people (id)')""",
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=[pytest.mark.thorough] * (how in ("connection", "quotes"))) for how in BUILDS],
)
def test_interrupted_build_is_named_and_built_again(own_shop: Shop, databases: Databases, how: str) -> None:
    write(own_shop, Way(BUILDS[how], more=DECLARED))
    index = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'people'::regclass"

    async def scenario() -> Answer:
        with started(databases, own_shop.folder, "upgrade", "main@m1") as process:
            assert process.end().status == 0
        async with holding(databases, "main", "INSERT INTO people VALUES (1)"):
            with started(databases, own_shop.folder, "upgrade", "main@head") as process:
                await until(databases, "main", BUILDING)
                process.popen.send_signal(signal.SIGINT)
                return await asyncio.to_thread(process.end)

    answer = run(scenario())
    ((name, is_valid),) = run(rows(databases, "main", index))
    assert not is_valid
    assert f"the INVALID index public.{name}" in answer.stderr, answer
    run(own_shop.upgrade(databases))
    assert run(rows(databases, "main", index)) == [(name, True)]


def test_lock_timeout_does_not_end_a_waiting_step_without_transaction(
    own_shop: Shop, databases: Databases
) -> None:
    write(own_shop, WAYS["raw"])
    with started(databases, own_shop.folder, "upgrade", "main@m1") as process:
        assert process.end().status == 0

    async def scenario() -> None:
        async with holding(databases, "main", "INSERT INTO people VALUES (1)"):
            upgrade = asyncio.create_task(own_shop.upgrade(databases, lock_timeout="0.1"))
            await until(databases, "main", BUILDING)
            await asyncio.sleep(0.5)
            assert not upgrade.done()
        await upgrade

    run(scenario())
    assert run(rows(databases, "main", INDEX)) == [(True,)]


KILL = "import os\nos.kill(os.getpid(), 9)"
DRIVER = "from sqlalchemy.util import await_only\nconnection = op.get_bind().connection\n"
CREATE = "CREATE TABLE u ()"
BELOW = {
    "driver_connection": "await_only(connection.driver_connection.execute('COMMIT'))",
    "with the statement": f"await_only(connection.driver_connection.execute('{CREATE}; COMMIT'))",
    "adapter": "await_only(connection.dbapi_connection.driver_connection.execute('COMMIT'))",
    "run_async": "connection.dbapi_connection.run_async(lambda driver: driver.execute('COMMIT'))",
    "another path": "op.execute('SET search_path = pg_temp')\n"
    "await_only(connection.driver_connection.execute('COMMIT AND CHAIN'))",
    "psycopg": "await_only(connection.driver_connection.execute('COMMIT'))",
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[pytest.mark.thorough] * (" " in how or "a" in how)) for how in BELOW]
)
def test_kill_after_a_commit_on_the_driver_is_known(own_shop: Shop, databases: Databases, how: str) -> None:
    if how == "psycopg":
        pytest.importorskip("psycopg", reason="psycopg is not installed")
        settings = own_shop.folder / "pyproject.toml"
        settings.write_text(settings.read_text().replace(".main]", '.main]\ndriver = "psycopg"'))
    write(own_shop, Way("\n".join([f"op.execute('{CREATE}')", DRIVER, BELOW[how], KILL])))
    if how == "with the statement":
        write(own_shop, Way("\n".join([DRIVER, BELOW[how], KILL])))
    with started(databases, own_shop.folder, "upgrade") as process:
        assert process.end().status == -signal.SIGKILL
    assert run(rows(databases, "main", "SELECT to_regclass('u') IS NOT NULL")) == [(True,)]
    for command, status in (("status", 0), ("check", 3), ("upgrade", 8)):
        with started(databases, own_shop.folder, command) as process:
            answer = process.end()
        text = " ".join(answer.everything.split())
        assert (answer.status, "left m2 half applied" in text) == (status, True), (command, answer)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("after", "tables"), [("", [(True,)]), ("\nraise ValueError", [(False,)]), (f"\n{KILL}", [(False,)])]
)
def test_use_of_the_driver_without_a_commit_leaves_nothing(
    own_shop: Shop, databases: Databases, after: str, tables: list[tuple[bool]]
) -> None:
    body = f"{DRIVER}await_only(connection.driver_connection.execute('{CREATE}')){after}"
    write(own_shop, Way(body))
    with started(databases, own_shop.folder, "upgrade") as process:
        process.end()
    run(until(databases, "main", NOBODY_WORKS))
    assert run(rows(databases, "main", "SELECT to_regclass('u') IS NOT NULL")) == tables
    with started(databases, own_shop.folder, "check") as process:
        assert "half applied" not in process.end().everything
