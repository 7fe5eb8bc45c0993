"""Where the journal lives, and the digest of applied files that the server and the graph compute."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.migrate.journal import Journal
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.revision_graph.revision import files_digest
from tests.deployments import (
    RUNS,
    STEPS,
    agree,
    deployment,
    environment,
    execute,
    invoke,
    project_folder,
)
from tests.faults.shop import Shop
from tests.faults.states import rows
from tests.servers import NAMES, Databases, run

__all__ = ["project_folder"]

_BACK = (
    "ALTER TABLE circle_migrate.{0} RENAME TO circle_migrate_{0}",
    "ALTER TABLE circle_migrate.circle_migrate_{0} SET SCHEMA public",
)


async def move_back(databases: Databases, *tables: str) -> None:
    """The journals of both databases where earlier releases had them."""
    moves = [statement.format(table) for table in tables for statement in _BACK]
    for name in NAMES:
        await execute(databases, name, *moves, "DROP SCHEMA circle_migrate")


def set_journal_schema(monkeypatch: pytest.MonkeyPatch, schema: str) -> None:
    for name in NAMES:
        monkeypatch.setenv(f"CIRCLE_MIGRATE_{name.upper()}_JOURNAL_SCHEMA", schema)


@pytest.fixture
def shop(project_folder: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A project with a revision that is applied, and one that walks over all tables."""
    for name, url in environment(empty_databases).items():
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", empty_databases.server.admin_url)
    shop = Shop(project_folder)
    for name, key in (("main", "m1"), ("credentials", "c1")):
        shop.add(name, key, None, ["CREATE TABLE t (id int)"], ["DROP TABLE t"])
    assert invoke(["upgrade"]).status == 0
    walk = """
names = sa.inspect(op.get_bind()).get_table_names() + sa.inspect(op.get_bind()).get_sequence_names()
assert sorted(names) == ["alembic_version", "t"], names
op.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
op.execute("DO $$ DECLARE r regclass; BEGIN FOR r IN SELECT c.oid FROM pg_class c WHERE relkind = 'r' AND "
           "pg_table_is_visible(oid) AND oid >= 16384 LOOP EXECUTE format('ALTER TABLE %s SET UNLOGGED', r); "
           "END LOOP; END $$")
"""
    shop.revision("main", "m2", "m1", walk, "pass")
    return shop


async def digests(on: Deployment, name: str) -> tuple[str, str, str]:
    """Return the digests by the server, of the journal's checksums, and of the graph."""
    database = on.databases[name]
    async with database.reading() as connection:
        journal = Journal(database, await database.read_state(connection))
        checksums = await journal.checksums(connection)
        return await journal.digest(connection), files_digest(checksums.items()), database.graph.digest


def test_server_and_graph_compute_the_same_digest(migrated_databases: Databases) -> None:
    on = deployment(migrated_databases)
    for name in NAMES:
        assert len(set(run(digests(on, name)))) == 1
    run(downgrade(on, ["main@-1"], confirm=agree, cascade=True))
    by_server, by_rows, of_tree = run(digests(on, "main"))
    assert by_server == by_rows != of_tree, "what was undone is not applied"
    run(upgrade(on))
    assert len(set(run(digests(on, "main")))) == 1, "the last time counts"
    edit = "UPDATE circle_migrate.steps SET checksum = 'other' WHERE id = 1"
    run(execute(migrated_databases, "main", edit))
    by_server, by_rows, of_tree = run(digests(on, "main"))
    assert by_server == by_rows != of_tree


@pytest.mark.parametrize("schema", [pytest.param("circle_migrate", marks=pytest.mark.thorough), 'My "ops"'])
def test_revisions_grants_and_comparisons_do_not_meet_the_journal(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    if schema != "circle_migrate":
        set_journal_schema(monkeypatch, schema)
        for name in NAMES:
            run(execute(empty_databases, name, f"ALTER SCHEMA circle_migrate RENAME TO {quoted}"))
    assert invoke(["upgrade"]).status == 0
    query = f"""SELECT c.relname, c.relpersistence = 'p', has_table_privilege('pg_monitor', c.oid, 'INSERT')
        FROM pg_class c WHERE relnamespace = '{quoted}'::regnamespace AND relkind = 'r' ORDER BY 1"""
    assert run(rows(empty_databases, "main", query)) == [("runs", True, False), ("steps", True, False)]
    for line in ("diff --drift", "check --no-pending", "snapshot -d main -o main.json"):
        answer = invoke(line.split())
        assert (answer.status, "steps" in answer.stdout) == (0, False), (line, answer)
    assert schema.replace('"', '\\"') not in Path("main.json").read_text(encoding="utf-8")


def test_journal_beside_the_version_table_is_read_there_and_moved_by_the_next_run(
    shop: Shop, empty_databases: Databases
) -> None:
    assert invoke(["protect", "--reason", "live"]).status == 0
    run(move_back(empty_databases, "runs", "steps", "protection"))
    for line in ("status", "check --no-pending", "diff --drift"):
        answer = invoke(line.split())
        assert (answer.status, "circle_migrate" in answer.stdout) == (0, False), (line, answer)
    assert "live" in invoke(["status"]).stdout
    assert "protect" in invoke(["log"]).stdout
    assert invoke(["recover"]).status == 0
    assert run(rows(empty_databases, "main", f"SELECT to_regclass('{RUNS}')")) == [(None,)]

    assert invoke(["upgrade"]).status == 0
    journaled = run(rows(empty_databases, "main", f"SELECT revision FROM {STEPS} ORDER BY id"))
    assert [name for (name,) in journaled] == ["m1", "m1", "m2"]
    assert run(rows(empty_databases, "main", "SELECT to_regclass('circle_migrate_runs')")) == [(None,)]
    assert invoke(["stamp", "main@m1", "--yes"]).status == 5, "the marker has moved"


@pytest.mark.thorough
def test_journal_follows_its_setting(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(["protect", "--reason", "live"]).status == 0
    set_journal_schema(monkeypatch, 'My "ops"')
    for line in ("status", "check --no-pending", "diff --drift"):
        answer = invoke(line.split())
        assert (answer.status, "circle_migrate." in answer.stdout) == (0, False), (line, answer)
    assert "live" in invoke(["status"]).stdout
    assert "protect" in invoke(["log"]).stdout
    run(execute(empty_databases, "main", "DELETE FROM alembic_version"))
    assert invoke(["upgrade"]).status == 8
    run(execute(empty_databases, "main", "INSERT INTO alembic_version VALUES ('m1')"))

    assert invoke(["upgrade"]).status == 0
    journaled = run(rows(empty_databases, "main", 'SELECT revision FROM "My ""ops""".steps ORDER BY id'))
    assert [name for (name,) in journaled] == ["m1", "m1", "m2"]
    assert run(rows(empty_databases, "main", "SELECT to_regnamespace('circle_migrate')")) == [(None,)]
    assert invoke(["stamp", "main@m1", "--yes"]).status == 5, "the marker has moved"

    set_journal_schema(monkeypatch, "ops")
    answer = invoke(["stamp", "main@m1", "--yes", "--override-protection", "main"])
    assert (answer.status, "changed" in answer.stderr) == (0, False), answer
    assert invoke(["check", "--no-pending"]).status == 0, "the fingerprint leaves the journal out"


@pytest.mark.parametrize("whose", ["another project", "another role"])
def test_journal_of_others_is_not_taken(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    set_journal_schema(monkeypatch, "ops")
    shop.add("main", "m2", "m1", ["SELECT 1"], [])
    if whose == "another role":
        owner = "ALTER TABLE circle_migrate.runs OWNER TO pg_monitor"
        run(execute(empty_databases, "main", owner))
    else:
        monkeypatch.setenv("CIRCLE_MIGRATE_MAIN_VERSION_TABLE", "their_version")
        run(execute(empty_databases, "main", "CREATE TABLE their_version AS TABLE alembic_version"))
    assert invoke(["upgrade", "-d", "main", "--safety", "off"]).status == 0
    for schema, expected in (("circle_migrate", ["m1"]), ("ops", ["m2"])):
        journaled = run(rows(empty_databases, "main", f"SELECT revision FROM {schema}.steps"))
        assert [name for (name,) in journaled] == expected


def test_journal_is_not_moved_by_halves(shop: Shop, empty_databases: Databases) -> None:
    run(move_back(empty_databases, "runs", "steps"))

    async def while_read() -> int:
        async with empty_databases.connect("main") as connection, connection.transaction():
            await connection.execute("LOCK TABLE circle_migrate_steps IN ACCESS SHARE MODE")
            return await asyncio.to_thread(lambda: invoke(["upgrade", "--lock-timeout", "0.3"]).status)

    assert run(while_read()) == 6
    places = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^circle_migrate_.*s$'"
    assert run(rows(empty_databases, "main", places)) == [("public",), ("public",)]
    assert invoke(["upgrade"]).status == 0


def test_journal_that_an_earlier_release_has_begun_again_is_merged(
    shop: Shop, empty_databases: Databases
) -> None:
    for name in NAMES:
        copies = [
            f"CREATE TABLE circle_migrate_{table} (LIKE circle_migrate.{table} INCLUDING ALL)"
            for table in ("runs", "steps")
        ]
        fill = (
            "INSERT INTO circle_migrate_runs SELECT * FROM circle_migrate.runs LIMIT 1;"
            "UPDATE circle_migrate_runs SET run = gen_random_uuid();"
            "INSERT INTO circle_migrate_steps (run, segment, direction, revision, message, started_at, "
            "duration_ms, elsewhere) SELECT run, 1, 'up', 'old', '', now(), 1, '{}' FROM circle_migrate_runs"
        )
        run(execute(empty_databases, name, *copies, fill))
    assert invoke(["upgrade"]).status == 0
    journaled = run(rows(empty_databases, "main", f"SELECT revision FROM {STEPS} ORDER BY id"))
    assert [name for (name,) in journaled] == ["m1", "old", "m2"]
    assert run(rows(empty_databases, "main", "SELECT to_regclass('circle_migrate_runs')")) == [(None,)]


def test_role_without_create_on_the_database_is_told_the_statement(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, database = f"deployer_{empty_databases.names['main']}", empty_databases.names["main"]
    schema = "DROP SCHEMA circle_migrate CASCADE"
    grants = (
        f'ALTER TABLE t OWNER TO "{role}"; ALTER TABLE alembic_version OWNER TO "{role}"; '
        f'GRANT CREATE ON SCHEMA public TO "{role}"'
    )
    run(execute(empty_databases, "main", f'CREATE ROLE "{role}" LOGIN', schema, grants))
    try:
        url = empty_databases.urls["main"].replace("postgres@", f"{role}@")
        monkeypatch.setenv("DATABASE_URL", url)
        answer = invoke(["upgrade"])
        create = f'CREATE SCHEMA "circle_migrate" AUTHORIZATION "{role}";'
        assert answer.status == 9, answer
        for hint in (create, f"GRANT CREATE ON DATABASE {database} TO"):
            assert hint in answer.stderr
        run(execute(empty_databases, "main", create))
        assert invoke(["upgrade"]).status == 0
    finally:
        run(execute(empty_databases, "main", f'REASSIGN OWNED BY "{role}" TO CURRENT_USER'))
        run(execute(empty_databases, "main", f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"'))


@pytest.mark.parametrize(
    "path", ["public, circle_migrate", pytest.param("circle_migrate", marks=pytest.mark.thorough)]
)
def test_journal_in_the_search_path_is_refused(
    shop: Shop, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name in NAMES:
        run(execute(empty_databases, name, f"DROP TABLE {STEPS}, {RUNS}"))
        monkeypatch.setenv(f"CIRCLE_MIGRATE_{name.upper()}_SEARCH_PATH", path)
    answer = invoke(["upgrade"])
    assert (answer.status, "journal-schema" in answer.stderr) == (2, True), answer
    assert run(rows(empty_databases, "main", f"SELECT to_regclass('{RUNS}')")) == [(None,)]
