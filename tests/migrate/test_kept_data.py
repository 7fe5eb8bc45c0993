"""A downgrade with --keep and the upgrade after it: every value is restored, or nothing was removed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from circle_migrate.commands.downgrade import downgrade
from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import MigrationFailed, Refused
from circle_migrate.migrate.result import MigrationResult
from circle_migrate.postgres.catalog.fingerprint import fingerprint
from circle_migrate.postgres.catalog.read_live import read_live_catalog
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.journal_tables import KEPT_SCHEMA
from tests import alembic_driver, old_script
from tests.deployments import agree, deployment, environment, execute, invoke
from tests.faults.killed_process import KilledProcesses
from tests.migrate.kept_data_cases import CASES, ROWS, Case, T
from tests.projects import Project
from tests.revisions.test_trees import DATABASES, all_rows
from tests.servers import Databases, run

pytestmark = pytest.mark.thorough

_SETTINGS = """
[tool.circle-migrate.databases.main]
revisions = "migrations/main"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
"""

# For the tables that came after the old script; the others have the rows of `field`.
_NEW_ROWS = """
    INSERT INTO transfer_requests (requester_id, source_circle_id, target_circle_id, reason, status,
                                   reviewed_by_id, reviewed_at)
    SELECT 2, a.id, b.id, E'"moved"\\t\\\\', 'approved', 1, now()
    FROM circles a, circles b WHERE a.id <> b.id LIMIT 3;
    UPDATE circle_memberships SET transfer_request_id = (SELECT max(id) FROM transfer_requests)
    WHERE user_id = 1;
    INSERT INTO events (title, event_type, organizer_id, starts_at, ends_at, price_cents, currency)
    SELECT 'event ' || n, 'retreat', 1, now(), now() + interval '1 day', n, 'EUR'
    FROM generate_series(1, 9) n;
    DELETE FROM events WHERE id = 3;
    INSERT INTO event_registrations (event_id, user_id, status, waitlist_position, payment_plan, sponsor_id)
    VALUES (1, 2, 'registered', NULL, 'sponsored', 1), (1, 3, 'waitlisted', 1, 'none', NULL),
           (1, 4, 'waitlisted', 2, 'none', NULL);
    INSERT INTO registration_payments (registration_id, instalment, amount_cents, due_on)
    SELECT id, 1, 100, '2026-01-31' FROM event_registrations;
"""


async def rows(databases: Databases) -> dict[str, dict[str, Any]]:
    """Return all rows of both databases without the journal, and the positions of sequences."""
    contents: dict[str, dict[str, Any]] = {}
    for name in DATABASES:
        async with databases.connect(name) as connection:
            tables = await all_rows(connection)
            sequences = dict(
                await connection.fetch(
                    "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'"
                )
            )
        contents[name] = {**tables, "sequences": sequences}
    return contents


_NEW_CREDENTIALS = """
INSERT INTO refresh_tokens (user_id, family_id, token_hash, expires_at)
    SELECT user_id, gen_random_uuid(), sha256(user_id::text::bytea), now() + interval '1 day'
    FROM user_credentials;
INSERT INTO verification_codes (user_id, channel, code_hash, expires_at)
    SELECT user_id, 'email', sha256(user_id::text::bytea), now() + interval '10 minutes'
    FROM user_credentials;
INSERT INTO password_resets (user_id, token_hash, expires_at)
    SELECT user_id, sha256(user_id::text::bytea), now() + interval '30 minutes' FROM user_credentials;
"""


async def filled(databases: Databases) -> None:
    """Both databases at head, with rows in every table."""
    for name in DATABASES:
        async with databases.connect(name) as connection:
            await old_script.build(connection, name, old_script.REVISIONS[name][-1])
    await upgrade(deployment(databases))
    await execute(databases, "main", _NEW_ROWS)
    await execute(databases, "credentials", _NEW_CREDENTIALS)
    for name, tables in (await rows(databases)).items():
        empty = [table for table, content in tables.items() if not content and table != "sequences"]
        assert not empty, f"{name}: every table has rows"


async def down(databases: Databases, *targets: str) -> MigrationResult:
    moved = await downgrade(deployment(databases), targets, confirm=agree, cascade=True, keep=True)
    assert isinstance(moved, MigrationResult)
    return moved


@pytest.mark.parametrize("database", DATABASES)
def test_every_revision_restores_every_value(empty_databases: Databases, database: str) -> None:
    revisions = alembic_driver.revisions(database)

    async def scenario() -> None:
        await filled(empty_databases)
        levels = {}
        for revision in reversed(revisions):
            levels[revision] = (await rows(empty_databases))[database]
            await down(empty_databases, f"{database}@-1")
        for revision in revisions:
            await upgrade(deployment(empty_databases), [f"{database}@{revision}"])
            assert (await rows(empty_databases))[database] == levels[revision], revision

    run(scenario())


class Tree(Project):
    """A project with two revisions of main: a base, and the revision that is undone."""

    def of(self, case: Case) -> Tree:
        """Write the revisions of a case."""
        self.write_settings(_SETTINGS)
        self.add("m1", None, case.setup, "SELECT")
        return self.add("m2", "m1", case.up, case.down)

    def add(self, key: str, down: str | None, up: str, undo: str, more: str = "") -> Tree:
        """Write a revision of SQL statements."""
        body = "for statement in {!r}.split(';'): op.get_bind().exec_driver_sql(statement)"
        self.revision("main", key, down, body.format(up), body.format(undo), more=more)
        return self

    def deployment(self, databases: Databases) -> Deployment:
        return Deployment(load({}, environ=environment(databases), cwd=self.folder), "main")

    async def up(self, databases: Databases, target: str = "head", **how: Any) -> MigrationResult:
        return await upgrade(self.deployment(databases), [target], **how)

    async def down(self, databases: Databases, target: str = "m1") -> MigrationResult:
        moved = await downgrade(self.deployment(databases), [target], confirm=agree, keep=True)
        assert isinstance(moved, MigrationResult)
        return moved


CONTENTS = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind = 'S' AS numbers
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'S') AND n.nspname NOT LIKE 'pg\\_%'
      AND n.nspname NOT IN ('information_schema', 'circle_kept', 'circle_migrate')
      AND c.relname <> 'alembic_version'
"""


async def contents(databases: Databases) -> dict[str, list[str]]:
    """Return all rows of main as text by table, and the positions of its sequences."""
    rows = {}
    async with databases.connect("main") as connection:
        for name, numbers in await connection.fetch(CONTENTS):
            what = "last_value, is_called" if numbers else "t::text"
            rows[name] = sorted(map(str, await connection.fetch(f"SELECT {what} FROM {name} t")))
    return rows


async def entries(databases: Databases) -> list[Any]:
    """Return the entries of main."""
    async with databases.connect("main") as connection:
        if await connection.fetchval(f"SELECT to_regclass('{KEPT_SCHEMA}.entries')") is None:
            return []
        return list(await connection.fetch(f"SELECT * FROM {KEPT_SCHEMA}.entries ORDER BY number"))


async def side_tables(databases: Databases) -> set[str]:
    """Return the side tables of main."""
    async with databases.connect("main") as connection:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'",
            KEPT_SCHEMA,
        )
    return {name for (name,) in names} - {"entries"}


@pytest.fixture
def tree(project_folder: Path) -> Tree:
    """The project of a test."""
    return Tree(project_folder)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_removed_data_is_restored(tree: Tree, empty_databases: Databases, case: Case) -> None:
    tree.of(case)

    async def scenario() -> None:
        await tree.up(empty_databases)
        await execute(empty_databases, "main", case.rows)
        before = await contents(empty_databases)
        moved = await tree.down(empty_databases)
        kept = await entries(empty_databases)
        assert sorted(row["kind"] for row in kept) == case.kinds.split()
        assert len(moved.kept) == len([row for row in kept if row["rows"]])
        assert await side_tables(empty_databases) == {row["side_table"] for row in kept} - {""}
        assert await contents(empty_databases) != before
        back = await tree.up(empty_databases)
        assert await contents(empty_databases) == before
        assert [(count.table, count.rows) for count in back.kept] != [] or not moved.kept
        assert {row["state"] for row in await entries(empty_databases)} <= {"restored"}
        assert await side_tables(empty_databases) == set()

    run(scenario())


REFUSED = {
    "column-without-a-key": (
        "CREATE TABLE t (a text)",
        "ALTER TABLE t ADD b text",
        "INSERT INTO t VALUES ('a', 'b')",
        "ALTER TABLE t DROP b",
        "no primary key",
    ),
    "rows-without-a-key": (
        "CREATE TABLE t (a text)",
        "ALTER TABLE t ADD b text",
        "INSERT INTO t VALUES ('a', 'b')",
        "DELETE FROM t",
        "no primary key",
    ),
    "the-key-itself": (
        "CREATE TABLE t (id integer, b integer NOT NULL)",
        "ALTER TABLE t ADD k integer PRIMARY KEY",
        "INSERT INTO t VALUES (1, 2, 3)",
        "ALTER TABLE t DROP k",
        "loses its primary key",
    ),
}


@pytest.mark.parametrize(("setup", "up", "rows", "down", "why"), REFUSED.values(), ids=REFUSED)
def test_data_that_cannot_be_restored_is_refused(
    tree: Tree, empty_databases: Databases, setup: str, up: str, rows: str, down: str, why: str
) -> None:
    tree.of(Case("", setup, up, rows, down, ""))

    async def scenario() -> None:
        await tree.up(empty_databases)
        await execute(empty_databases, "main", rows)
        before = await contents(empty_databases)
        with pytest.raises(Refused, match=why):
            await tree.down(empty_databases)
        assert await contents(empty_databases) == before
        assert await entries(empty_databases) == []
        await execute(empty_databases, "main", "TRUNCATE t")
        await tree.down(empty_databases)

    run(scenario())


COMMITTING = {
    "values": ("op.execute('ALTER TABLE t DROP a')", True),
    "values-with-an-index": ("op.execute('DROP INDEX i')\n    op.execute('ALTER TABLE t DROP a')", False),
    "unknown": ("op.get_bind().exec_driver_sql('SELECT 1').scalar()", False),
}


@pytest.mark.parametrize(("down", "allowed"), COMMITTING.values(), ids=COMMITTING)
def test_steps_that_commit_by_themselves(
    tree: Tree, empty_databases: Databases, down: str, allowed: bool
) -> None:
    """Data is kept where only the upgrade cannot run in a transaction; other such steps are refused."""
    tree.of(Case("", T, "SELECT", "", "SELECT", ""))
    body = down if allowed else f"with op.get_context().autocommit_block():\n    {down}"
    tree.revision(
        "main", "m3", "m2", "op.execute('CREATE INDEX i ON t (b)')", body, more="transactional = False"
    )

    async def scenario() -> None:
        await tree.up(empty_databases)
        await execute(empty_databases, "main", ROWS)
        before = await contents(empty_databases)
        if not allowed:
            with pytest.raises(Refused, match="commits by itself"):
                await tree.down(empty_databases)
            assert await contents(empty_databases) == before
            return
        await tree.down(empty_databases, "m2")
        assert [row["columns"] for row in await entries(empty_databases)] == [["a"]]

    run(scenario())


def test_step_that_removes_more_than_its_trial_run_is_rolled_back(
    tree: Tree, empty_databases: Databases
) -> None:
    """The step's second run differs, as it depends on a sequence, which a rollback does not reset."""
    down = "DO $$ BEGIN IF nextval('again') > 1 THEN DELETE FROM t WHERE id = 1\\; END IF\\; END $$"
    tree.of(Case("", f"{T}; CREATE SEQUENCE again", "SELECT", "", "SELECT", ""))
    body = f"op.get_bind().exec_driver_sql({down!r}.replace('\\\\', ''))"
    tree.revision("main", "m3", "m2", "pass", body)

    async def scenario() -> None:
        await tree.up(empty_databases)
        await execute(empty_databases, "main", ROWS)
        with pytest.raises(MigrationFailed, match="removed more data of public"):
            await tree.down(empty_databases, "m2")
        async with empty_databases.connect("main") as connection:
            assert await connection.fetchval("SELECT count(*) FROM t") == 9
        assert await entries(empty_databases) == []

    run(scenario())


COLUMN = Case("", T, "ALTER TABLE t ADD c text DEFAULT 'new'", "", "ALTER TABLE t DROP c", "")


async def without_c(tree: Tree, databases: Databases) -> None:
    """Keep column c of nine rows, then delete row 1, update row 2 and insert row 10."""
    await tree.of(COLUMN).up(databases)
    await execute(databases, "main", ROWS, "UPDATE t SET c = 'c' || id")
    await tree.down(databases)
    await execute(databases, "main", "DELETE FROM t WHERE id = 1; UPDATE t SET a = 'other' WHERE id = 2")
    await execute(databases, "main", "INSERT INTO t VALUES (10, 'ten')")


def test_rows_deleted_and_inserted_since_the_downgrade(tree: Tree, empty_databases: Databases) -> None:
    async def scenario() -> None:
        await without_c(tree, empty_databases)
        (back,) = (await tree.up(empty_databases)).kept
        assert (back.rows, back.missing) == (8, 1)
        async with empty_databases.connect("main") as connection:
            rows = await connection.fetch("SELECT id, a, c FROM t WHERE id IN (2, 3, 10) ORDER BY id")
        assert [tuple(row) for row in rows] == [(2, "other", "c2"), (3, None, "c3"), (10, "ten", "new")]
        (entry,) = await entries(empty_databases)
        assert (entry["state"], entry["restored"], entry["missing"]) == ("restored", 8, 1)
        assert await side_tables(empty_databases) == {entry["side_table"]}

    run(scenario())


def test_by_hand(tree: Tree, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries left by the upgrade are listed and restored by hand; the missing rows are dropped."""
    run(without_c(tree, empty_databases))
    for name, value in environment(empty_databases).items():
        monkeypatch.setenv(name, value)

    def kept(*arguments: str, status: int = 0) -> Any:
        answer = invoke(["kept", *arguments, "-d", "main", "--format", "json"])
        assert answer.status == status, answer.stderr
        return json.loads(answer.stdout)

    assert invoke(["upgrade", "-d", "main", "--no-restore-kept"]).status == 0
    (entry,) = kept("list")["entries"]
    assert (entry["id"], entry["rows"], entry["state"]) == ("main/1", 9, "kept")
    assert invoke(["kept", "list", "-d", "main"]).status == 0
    assert kept("restore", "main/2", status=2)["error"]["hint"] == "circle-migrate kept list"
    (restored,) = kept("restore", entry["run"][:6])["entries"]
    assert (restored["state"], restored["restored"], restored["missing"]) == ("restored", 8, 1)
    assert kept("restore", "main/1", status=2)
    assert kept("drop", "main/1", status=5)["error"]["code"] == "not-confirmed"
    assert run(side_tables(empty_databases)) == {entry["side_table"]}
    (dropped,) = kept("drop", "main/1", "--yes")["entries"]
    assert dropped["side_table"] is None
    assert run(side_tables(empty_databases)) == set()
    assert kept("list")["entries"] == []
    assert [entry["state"] for entry in kept("list", "--all")["entries"]] == ["restored"]
    assert "kept drop" in invoke(["log", "-d", "main", "--format", "json"]).stdout


def test_kept_data_that_no_longer_fits_stops_the_upgrade(
    tree: Tree, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.of(Case("", T, "ALTER TABLE t ADD c text", "", "ALTER TABLE t DROP c", ""))

    async def scenario() -> None:
        await tree.up(empty_databases)
        await execute(empty_databases, "main", ROWS, "UPDATE t SET c = 'c'")
        await tree.down(empty_databases)
        await execute(
            empty_databases,
            "main",
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW WHEN (old.id = 4) EXECUTE FUNCTION no()",
        )
        with pytest.raises(MigrationFailed, match="of 9 rows, 8 were restored, and 0") as failed:
            await tree.up(empty_databases)
        assert "--no-restore-kept" in str(failed.value.hint)
        assert [row["state"] for row in await entries(empty_databases)] == ["kept"]
        await tree.up(empty_databases, restore_kept=False)

    run(scenario())


WAYS = {
    "serial": (["base"], ["head"]),
    # The revisions above commit by themselves, so --atomic is impossible for them.
    "atomic": (
        ["main@b37f99db0c0e", "credentials@a1b2c3d4e5f6"],
        ["main@f4e7d8b9c123", "credentials@c4b0e5c7784e"],
    ),
}


@pytest.mark.parametrize(("mode", "low", "high"), [(mode, *way) for mode, way in WAYS.items()], ids=WAYS)
def test_both_databases_all_the_way_down_and_up(
    empty_databases: Databases, mode: str, low: list[str], high: list[str]
) -> None:
    async def scenario() -> None:
        await filled(empty_databases)
        await downgrade(deployment(empty_databases), high, confirm=agree)
        both = Deployment(load({"atomic": mode == "atomic"}, environ=environment(empty_databases)))
        before = await rows(empty_databases)
        await downgrade(both, low, confirm=agree, keep=True)
        assert await rows(empty_databases) != before
        moved = await upgrade(both, high)
        assert moved.mode == mode
        assert {count.database for count in moved.kept} == set(DATABASES)
        assert await rows(empty_databases) == before

    run(scenario())


def test_kept_data_is_not_part_of_the_schema(tree: Tree, empty_databases: Databases) -> None:
    async def scenario() -> None:
        await without_c(tree, empty_databases)
        await tree.up(empty_databases, restore_kept=False)
        assert await side_tables(empty_databases)
        deployment = tree.deployment(empty_databases)
        with_side = await read_live_catalog(deployment.databases["main"])
        async with empty_databases.connect("main") as connection:
            marked = await fingerprint(connection, "alembic_version")
            await connection.execute(f"DROP SCHEMA {KEPT_SCHEMA} CASCADE")
            assert await fingerprint(connection, "alembic_version") == marked
        assert await read_live_catalog(deployment.databases["main"]) == with_side

    run(scenario())


@pytest.mark.parametrize("point", ["done 1", "before commit main", "after commit main"])
def test_killed_in_the_middle(tree: Tree, empty_databases: Databases, point: str) -> None:
    async def prepare() -> None:
        await tree.of(COLUMN).up(empty_databases)
        await execute(empty_databases, "main", ROWS)

    run(prepare())
    with KilledProcesses() as killed_processes:
        ended = killed_processes.run(tree.folder, environment(empty_databases), "down", point, keep=True)
    assert ended == -signal.SIGKILL
    kept = run(entries(empty_databases))
    assert bool(kept) == (point == "after commit main")
    assert run(side_tables(empty_databases)) == {row["side_table"] for row in kept}
