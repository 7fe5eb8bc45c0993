"""Traces: what PostgreSQL does at each statement, and what of a plan is known when a step fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from circle_migrate.config.load import load
from circle_migrate.core.errors import Interrupted
from circle_migrate.core.events import Event, EventKind, ignore_event
from circle_migrate.migrate.planner import Planner
from circle_migrate.postgres.async_connection import AsyncConnection
from circle_migrate.postgres.catalog.snapshot import Op
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.postgres.scratch.databases import PREFIX
from circle_migrate.revision_graph.plan import Direction, Step, TransactionMode
from circle_migrate.safety.trace.record import Lock, ServerError, Trace, TracedStatement
from circle_migrate.safety.trace.recorder import Recorder, SourceLocation
from circle_migrate.safety.trace.run import trace_plan
from circle_migrate.safety.trace.traced_connection import TracedConnection
from tests.deployments import execute
from tests.projects import Project
from tests.servers import Databases, Server, run, start_binaries

pytestmark = pytest.mark.thorough

_SCHEMA = """
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN plain AS int;
CREATE TABLE orgs (id bigint PRIMARY KEY, name text);
CREATE TABLE users (
    id bigint PRIMARY KEY, email varchar(100), name varchar(100) NOT NULL, bio text, age int,
    amount numeric(10, 2), status varchar(20), legacy text NOT NULL, created_at timestamp, doc json,
    org_id bigint, m mood, rank plain,
    CONSTRAINT ck_status CHECK (status IS NOT NULL), CONSTRAINT uq_users_legacy UNIQUE (legacy)
);
ALTER TABLE users ADD CONSTRAINT ck_other CHECK (age < 1000) NOT VALID;
CREATE INDEX ix_users_age ON users (age);
CREATE INDEX ix_users_created_at ON users (created_at);
CREATE UNIQUE INDEX ux_users_name ON users (name);
CREATE TABLE people (id bigint PRIMARY KEY, email varchar(100), bio text, code varchar(20),
    CHECK (code <> ''));
CREATE INDEX ix_people_lower ON people (lower(email));
CREATE VIEW v_people AS SELECT id, bio FROM people;
CREATE VIEW v_people2 AS SELECT bio FROM v_people;
CREATE MATERIALIZED VIEW mv_people AS SELECT id, bio FROM people;
CREATE UNIQUE INDEX mv_people_id ON mv_people (id);
CREATE INDEX ix_people_bio ON people (bio);
CREATE TABLE orders (
    id bigint PRIMARY KEY, user_id bigint, total int, during tsrange,
    CONSTRAINT fk_orders_user FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE notes (user_id bigint);
ALTER TABLE notes ADD CONSTRAINT fk_notes_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;
CREATE TABLE logs (id int NOT NULL, at int, CONSTRAINT uq_logs UNIQUE (id));
CREATE UNIQUE INDEX ux_logs_at ON logs (at);
CREATE TABLE stored (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
CREATE TABLE ev (at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE ev_2023 PARTITION OF ev FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE ev_2024 (at date NOT NULL);
CREATE TABLE ev_2025 (at date NOT NULL CHECK (at >= '2025-01-01' AND at < '2026-01-01'));
CREATE SEQUENCE s1;
CREATE SCHEMA side;
CREATE TABLE side.users (id int);
CREATE TABLE "Weird ""Table" (id int);
CREATE TABLE tiny (id int);
CREATE FUNCTION volatile_sql() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION volatile_plpgsql() RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION immutable_plpgsql() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql
    AS 'BEGIN ALTER TABLE users ALTER COLUMN age TYPE bigint; END';
CREATE FUNCTION purge() RETURNS void LANGUAGE plpgsql AS 'BEGIN DELETE FROM tiny; END';
CREATE FUNCTION trg_f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
"""

_SHORT = {
    Lock.AccessShare: "AS",
    Lock.RowShare: "RS",
    Lock.RowExclusive: "RE",
    Lock.ShareUpdateExclusive: "SUE",
    Lock.Share: "S",
    Lock.ShareRowExclusive: "SRE",
    Lock.Exclusive: "E",
    Lock.AccessExclusive: "AE",
}


def shown(traced: TracedStatement) -> str:
    """A statement's new locks above ACCESS SHARE, work and failure, in the notation of the cases."""
    locks = [
        f"{_plain(name)}:{_SHORT[mode]}"
        for name, mode in sorted(traced.acquired.items())
        if mode > Lock.AccessShare
    ]
    counted = Counter(f"{work.task} {_plain(work.relation)}" for work in traced.work)
    work = [text if number == 1 else f"{number} {text}" for text, number in sorted(counted.items())]
    parts = [
        " ".join(locks),
        f"[{'; '.join(work)}]" if work else "",
        "proved" if traced.validated_constraints else "",
    ]
    parts.append(f"ERROR {traced.error.sqlstate}" if traced.error else "")
    return " ".join(filter(None, parts))


def _plain(name: str) -> str:
    return name.removeprefix("public.")


# Statements of one transaction each, and what each of them does. Indexes that users has: five.
EVERYWHERE: list[dict[str, str]] = [
    {"ALTER TABLE users ADD COLUMN score int DEFAULT 0 NOT NULL": "users:AE"},
    {
        "ALTER TABLE users ADD COLUMN uid uuid DEFAULT gen_random_uuid() NOT "
        "NULL": "users:AE [5 index build users; rewrite users]",
    },
    {
        "ALTER TABLE users ADD COLUMN team bigint": "users:AE",
        "ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES orgs "
        "(id)": "orgs:SRE [foreign key validation users]",
    },
    {"ALTER TABLE users ADD COLUMN lvl int CHECK (lvl > 0)": "users:AE [scan users]"},
    {"ALTER TABLE users ADD COLUMN seq bigserial": "users:AE [5 index build users; rewrite users]"},
    {
        "SET LOCAL timezone = 'Europe/Paris'": "",
        "ALTER TABLE users ALTER COLUMN created_at TYPE "
        "timestamptz": "users:AE [5 index build users; rewrite users]",
    },
    {"ALTER TABLE people ALTER COLUMN email TYPE varchar(200)": "people:AE [index build people]"},
    {"ALTER TABLE people ALTER COLUMN code TYPE varchar(200)": "people:AE [scan people]"},
    {"ALTER TABLE users ALTER COLUMN status SET NOT NULL": "users:AE proved"},
    {
        "ALTER TABLE users ADD CONSTRAINT ck CHECK (bio IS NOT NULL) NOT VALID": "users:AE",
        "ALTER TABLE users VALIDATE CONSTRAINT ck": "[scan users]",
        "ALTER TABLE users ALTER COLUMN bio SET NOT NULL": "proved",
    },
    {"ALTER TABLE logs ADD CONSTRAINT pk PRIMARY KEY (id)": "logs:AE [index build logs]"},
    {"DROP TABLE orders": "orders:AE users:AE"},
    {"ALTER TYPE mood ADD VALUE 'great'": "", "UPDATE users SET m = 'great'": "ERROR 55P04"},
    {"REFRESH MATERIALIZED VIEW mv_people": "mv_people:AE [index build mv_people; rewrite mv_people]"},
    {"ALTER TABLE people DROP COLUMN bio CASCADE": "mv_people:AE people:AE v_people:AE v_people2:AE"},
    {
        "TRUNCATE TABLE users "
        "CASCADE": "notes:AE orders:AE users:AE [truncate notes; truncate orders; truncate users]",
    },
    {"VACUUM users": "ERROR 25001"},
    {"SELECT hidden()": "users:AE [5 index build users; rewrite users]"},
    {
        "ALTER TABLE ev ATTACH PARTITION ev_2025 FOR VALUES FROM ('2025-01-01') TO "
        "('2026-01-01')": "ev:SUE ev_2025:AE proved",
    },
    {"CREATE INDEX ix_ev ON ev (at)": "ev:S ev_2023:S [index build ev_2023]"},
]
CASES: list[dict[str, str]] = [
    {"ALTER TABLE users ADD COLUMN nick varchar(50)": "users:AE"},
    {"ALTER TABLE users ADD COLUMN seen timestamptz DEFAULT now() NOT NULL": "users:AE"},
    {
        "ALTER TABLE users ADD COLUMN seen timestamptz DEFAULT "
        "clock_timestamp()": "users:AE [5 index build users; rewrite users]",
    },
    {"ALTER TABLE users ADD COLUMN k int DEFAULT volatile_sql()": "users:AE"},
    {
        "ALTER TABLE users ADD COLUMN k int DEFAULT "
        "volatile_plpgsql()": "users:AE [5 index build users; rewrite users]",
    },
    {"ALTER TABLE users ADD COLUMN k int DEFAULT immutable_plpgsql()": "users:AE"},
    {"ALTER TABLE users ADD COLUMN k positive": "users:AE [5 index build users; rewrite users]"},
    {
        "ALTER TABLE users ADD COLUMN code text": "users:AE",
        "ALTER TABLE users ADD UNIQUE (code)": "[index build users]",
    },
    {"ALTER TABLE users ADD COLUMN team bigint REFERENCES orgs (id)": "orgs:SRE users:AE"},
    {
        "ALTER TABLE users ADD COLUMN team bigint DEFAULT 1 REFERENCES orgs "
        "(id)": "orgs:SRE users:AE [foreign key validation users]",
    },
    {
        "ALTER TABLE users ADD COLUMN code text": "users:AE",
        "CREATE INDEX ix_users_code ON users (code)": "[index build users]",
    },
    {
        "ALTER TABLE users ADD COLUMN seq bigint GENERATED ALWAYS AS "
        "IDENTITY": "users:AE [5 index build users; rewrite users]",
    },
    {
        "ALTER TABLE users ADD COLUMN l int GENERATED ALWAYS AS (length(name)) "
        "STORED": "users:AE [5 index build users; rewrite users]",
    },
    {"ALTER TABLE users ADD COLUMN l int GENERATED ALWAYS AS (length(name)) VIRTUAL": "users:AE"},
    {"ALTER TABLE stored ALTER COLUMN b SET EXPRESSION AS (a + 2)": "stored:AE [rewrite stored]"},
    {"ALTER TABLE stored ALTER COLUMN b DROP EXPRESSION": "stored:AE"},
    {"ALTER TABLE users ALTER COLUMN email TYPE varchar(200)": "users:AE"},
    {"ALTER TABLE users ALTER COLUMN email TYPE text": "users:AE"},
    {
        "ALTER TABLE users ALTER COLUMN email TYPE "
        "varchar(30)": "users:AE [5 index build users; rewrite users]",
    },
    {"ALTER TABLE users ALTER COLUMN bio TYPE varchar(500)": "users:AE [5 index build users; rewrite users]"},
    {"ALTER TABLE users ALTER COLUMN age TYPE bigint": "users:AE [5 index build users; rewrite users]"},
    {"ALTER TABLE users ALTER COLUMN amount TYPE numeric(14, 2)": "users:AE"},
    {
        "ALTER TABLE users ALTER COLUMN amount TYPE numeric(14, "
        "4)": "users:AE [5 index build users; rewrite users]",
    },
    {"ALTER TABLE users ALTER COLUMN created_at TYPE timestamptz": "users:AE [index build users]"},
    {"ALTER TABLE people ALTER COLUMN bio TYPE varchar(200)": "ERROR 0A000"},
    {"ALTER TABLE users ALTER COLUMN bio SET NOT NULL": "users:AE [scan users]"},
    {
        "ALTER TABLE users VALIDATE CONSTRAINT ck_other": "users:SUE [scan users]",
        "ALTER TABLE users ALTER COLUMN bio SET NOT NULL": "users:AE [scan users]",
    },
    {"ALTER TABLE users ADD CONSTRAINT nn NOT NULL bio NOT VALID": "users:AE"},
    {
        "UPDATE users SET bio = '' WHERE bio IS NULL": "users:RE [update users]",
        "ALTER TABLE users ALTER COLUMN bio SET NOT NULL": "users:AE [scan users]",
    },
    {"COMMENT ON COLUMN users.bio IS 'free text'": "users:SUE"},
    {"CREATE INDEX ix_users_bio ON users (bio)": "users:S [index build users]"},
    {"CREATE INDEX CONCURRENTLY ix_users_bio ON users (bio)": "ERROR 25001"},
    {"DROP INDEX ix_users_age": "users:AE"},
    {"ALTER INDEX ix_users_age RENAME TO ix_users_age2": ""},
    {
        "ALTER TABLE users ADD CONSTRAINT fk FOREIGN KEY (org_id) REFERENCES orgs "
        "(id)": "orgs:SRE users:SRE [foreign key validation users]",
    },
    {
        "ALTER TABLE users ADD CONSTRAINT fk FOREIGN KEY (org_id) REFERENCES orgs (id) NOT "
        "VALID": "orgs:SRE users:SRE",
        "ALTER TABLE users VALIDATE CONSTRAINT fk": "[foreign key validation users]",
    },
    {
        "ALTER TABLE notes VALIDATE CONSTRAINT "
        "fk_notes_user": "notes:SUE users:RS [foreign key validation notes]",
    },
    {"ALTER TABLE users ADD CONSTRAINT ck CHECK (age >= 0)": "users:AE [scan users]"},
    {"ALTER TABLE users ADD CONSTRAINT ck CHECK (age >= 0) NOT VALID": "users:AE"},
    {"ALTER TABLE users ADD CONSTRAINT uq UNIQUE (email)": "users:AE [index build users]"},
    {"ALTER TABLE users ADD CONSTRAINT uq UNIQUE USING INDEX ux_users_name": "users:AE"},
    {
        "ALTER TABLE orders ADD CONSTRAINT ex EXCLUDE USING gist (during WITH "
        "&&)": "orders:AE [index build orders]",
    },
    {"ALTER TABLE logs ADD CONSTRAINT pk PRIMARY KEY USING INDEX ux_logs_at": "logs:AE [scan logs]"},
    {"ALTER TABLE users DROP COLUMN bio": "users:AE"},
    {"ALTER TABLE orders DROP CONSTRAINT fk_orders_user": "orders:AE users:AE"},
    {
        "ALTER TABLE users RENAME TO persons": "users:AE",
        "ALTER TABLE persons ALTER COLUMN age TYPE bigint": "[5 index build users; rewrite users]",
    },
    {"ALTER TABLE users RENAME name TO full_name": "users:AE"},
    {"UPDATE users SET status = 'x'": "users:RE [update users]"},
    {"DELETE FROM orders": "orders:RE [delete orders]"},
    {"INSERT INTO orgs (id, name) VALUES (1, 'o''x')": "orgs:RE"},
    {"INSERT INTO orgs (id, name) SELECT id + 1, name FROM orgs": "orgs:RE [insert orgs]"},
    {
        "MERGE INTO orgs o USING (VALUES (1, 'z')) v (id, name) ON o.id = v.id WHEN MATCHED THEN "
        "UPDATE SET name = v.name": "orgs:RE [update orgs]",
    },
    {"WITH gone AS (DELETE FROM tiny RETURNING id) SELECT count(*) FROM gone": "tiny:RE [delete tiny]"},
    {"ALTER TYPE mood ADD VALUE 'great'": ""},
    {
        "CREATE TABLE fresh (id bigint PRIMARY KEY, user_id bigint REFERENCES users "
        "(id))": "users:SRE [index build fresh]",
        "ALTER TABLE fresh ALTER COLUMN id TYPE int": "[index build fresh; rewrite fresh]",
    },
    {"CREATE TABLE copied AS SELECT * FROM users": "[scan users]"},
    {"SELECT count(*) FROM users": "[scan users]"},
    {
        "ALTER TABLE users ADD COLUMN a int": "users:AE",
        "ALTER TABLE orders ADD COLUMN a int": "orders:AE",
        "UPDATE orders SET total = total + 1": "[update orders]",
    },
    {"CREATE TRIGGER trg BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION trg_f()": "users:SRE"},
    {"ALTER TABLE orders DISABLE TRIGGER ALL": "orders:SRE"},
    {"ALTER SEQUENCE s1 RESTART WITH 1": "s1:SRE"},
    {"REFRESH MATERIALIZED VIEW CONCURRENTLY mv_people": "mv_people:E [scan mv_people; scan people]"},
    {"CREATE OR REPLACE VIEW v_people AS SELECT id, bio FROM people": "v_people:AE"},
    {"DROP VIEW v_people": "ERROR 2BP01"},
    {"DROP VIEW v_people CASCADE": "v_people:AE v_people2:AE"},
    {"ALTER TABLE people DROP COLUMN bio": "ERROR 2BP01"},
    {"TRUNCATE TABLE orders": "orders:AE [truncate orders]"},
    {"LOCK TABLE users IN ACCESS EXCLUSIVE MODE": "users:AE"},
    {"CLUSTER users USING users_pkey": "users:AE [5 index build users; rewrite users]"},
    {"REINDEX TABLE people": "people:S [3 index build people]"},
    {"ALTER TABLE logs SET UNLOGGED": "logs:AE [2 index build logs; rewrite logs]"},
    {"ALTER TABLE users SET (fillfactor = 80)": "users:SUE"},
    {"ALTER TABLE users ALTER COLUMN email SET STATISTICS 500": "users:SUE"},
    {"DROP SCHEMA side CASCADE": "side.users:AE"},
    {
        "DO $$ BEGIN EXECUTE 'ALTER TABLE users ALTER COLUMN age TYPE bigint'; END "
        "$$": "users:AE [5 index build users; rewrite users]",
    },
    {"SELECT purge()": "tiny:RE [delete tiny]"},
    {"DO $$ BEGIN UPDATE tiny SET id = 1; END $$": "tiny:RE [update tiny]"},
    {"DO $$ BEGIN INSERT INTO tiny VALUES (1); END $$": "tiny:RE"},
    {
        "ALTER TABLE ev ATTACH PARTITION ev_2024 FOR VALUES FROM ('2024-01-01') TO "
        "('2025-01-01')": "ev:SUE ev_2024:AE [scan ev_2024]",
    },
    {"ALTER TABLE ev DETACH PARTITION ev_2023": "ev:AE ev_2023:AE"},
    {
        'ALTER TABLE "Weird ""Table" ALTER COLUMN id TYPE '
        "bigint": '"Weird ""Table":AE [rewrite "Weird ""Table"]',
    },
    {
        "CREATE TABLE side.people (id int)": "",
        "CREATE INDEX ix_side_users ON side.users (id)": "side.users:S [index build side.users]",
    },
    {"ALTER DOMAIN plain ADD CHECK (VALUE > 0)": "users:S [scan users]"},
    {"CREATE TEMP TABLE t AS SELECT id FROM users": "[scan users]", "CREATE INDEX ON t (id)": ""},
]


# Sent outside of any transaction, one after the other.
OUTSIDE = {
    "CREATE INDEX CONCURRENTLY ix_a ON users (amount)": "users:SUE [index build users]",
    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix_a ON users (amount)": "users:SUE",
    "REINDEX INDEX CONCURRENTLY ix_a": "users:SUE [index build users]",
    "REINDEX TABLE CONCURRENTLY orgs": "orgs:SUE [index build orgs]",
    "DROP INDEX CONCURRENTLY ix_a": "users:SUE",
    "CREATE INDEX CONCURRENTLY ON side.users (id)": "side.users:SUE [index build side.users]",
    "VACUUM (ANALYZE) users": "users:SUE",
    "VACUUM FULL tiny": "tiny:AE [rewrite tiny]",
    "VACUUM (FULL, ANALYZE) tiny": "tiny:AE [rewrite tiny]",
    "ALTER TABLE ev DETACH PARTITION ev_2023 CONCURRENTLY": "ev:SUE ev_2023:SUE",
    "ALTER TABLE stored ADD COLUMN u uuid DEFAULT gen_random_uuid()": "stored:AE [rewrite stored]",
    "ALTER TABLE nowhere ADD x int": "ERROR 42P01",
    "SELECT hidden()": "users:AE [5 index build users; rewrite users]",
    "ALTER TYPE mood ADD VALUE 'great'": "",
    "UPDATE users SET m = 'great'": "users:RE [update users]",
    "DO $$ BEGIN ALTER TABLE tiny ADD x int; COMMIT; END $$": "",
    "CREATE UNIQUE INDEX CONCURRENTLY ix_b ON nowhere (id)": "ERROR 42P01",
}


class Bench:
    """A connection whose statements are recorded, in a database with the tables of the cases."""

    def __init__(self, connection: AsyncConnection, backend: TracedConnection, *, commits: bool) -> None:
        self.connection = connection
        self.backend = backend
        self.commits = commits
        self._catalog = backend.catalog
        self.recorder = Recorder(lambda: SourceLocation("revision.py", 1))

    async def traced(self, statements: Iterable[str]) -> list[TracedStatement]:
        """The statements in one transaction, which is rolled back."""
        self.recorder.statements.clear()
        with suppress(DBAPIError):
            for statement in statements:
                await self.connection.run_sync(Connection.exec_driver_sql, statement)
        await self.connection.rollback()
        if not self.commits:
            self.backend.catalog = self._catalog
            await self.backend.refresh_relations()
        return list(self.recorder.statements)

    async def shown(self, statements: Iterable[str]) -> dict[str, str]:
        """What each statement did, as the cases have it."""
        return {traced.sql: shown(traced) for traced in await self.traced(statements)}


@asynccontextmanager
async def bench(url: str, *, autocommit: bool = False) -> AsyncIterator[Bench]:
    database = Deployment(load(environ={"DATABASE_URL": url})).databases["main"]
    connection = await asyncpg.connect(url)
    await connection.execute(_SCHEMA)
    await connection.close()
    async with database.working("circle-migrate test", {}) as connection:
        if autocommit:
            await connection.run_sync(Connection.execution_options, isolation_level="AUTOCOMMIT")
        adapter = await connection.adapter()
        backend = TracedConnection(adapter.driver, database.settings, adapter.send_later)
        await backend.begin()
        made = Bench(connection, backend, commits=autocommit)
        await connection.run_sync(made.recorder.listen, made.backend)
        yield made


async def _as_expected(url: str, cases: Sequence[Mapping[str, str]]) -> None:
    async with bench(url) as made:
        assert [await made.shown(case) for case in cases] == list(cases)


def major_of(server: Server) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(server.admin_url)
        try:
            return int(connection.get_server_version().major)
        finally:
            await connection.close()

    return run(ask())


# What PostgreSQL does


def test_statements_lock_and_work_as_measured(server: Server, empty_databases: Databases) -> None:
    """Against tables of 200,000 rows, of which only the messages and locks of empty ones are left here."""
    if major_of(server) < 18:
        pytest.skip("some of the statements are new in PostgreSQL 18")
    run(_as_expected(empty_databases.urls["main"], [*EVERYWHERE, *CASES]))


@pytest.mark.parametrize("major", [15, 16])
def test_older_servers_do_the_same(major: int) -> None:
    with start_binaries(major) as (_, url):
        run(_as_expected(url, EVERYWHERE))


def test_statements_outside_transactions_are_known_by_their_kind_or_tried_in_one(
    empty_databases: Databases,
) -> None:
    async def scenario() -> None:
        async with bench(empty_databases.urls["main"], autocommit=True) as made:
            result = [await made.traced([statement]) for statement in OUTSIDE]
            assert {traced.sql: shown(traced) for (traced,) in result} == OUTSIDE
            assert {traced.transactional for (traced,) in result} == {False}
            assert not made.backend.driver.is_in_transaction()

    run(scenario())


def test_locks_of_earlier_statements_are_carried_until_the_transaction_ends(
    empty_databases: Databases,
) -> None:
    async def scenario() -> None:
        async with bench(empty_databases.urls["main"]) as made:
            statements = ["ALTER TABLE users ADD COLUMN a int", "UPDATE orders SET total = 0", "SELECT 1"]
            first, second, third = await made.traced(statements)
            assert first.locks_before == {}
            assert second.locks_before == first.locks == {"public.users": Lock.AccessExclusive}
            assert second.acquired == {"public.orders": Lock.RowExclusive}
            assert third.locks_before == third.locks == second.locks
            (again,) = await made.traced(["SELECT 1"])
            assert again.locks_before == again.locks == {}

    run(scenario())


def test_a_savepoint_that_is_rolled_back_takes_its_locks_along(empty_databases: Databases) -> None:
    async def scenario() -> None:
        async with bench(empty_databases.urls["main"]) as made:
            statements = ["SAVEPOINT a", "LOCK TABLE users", "ROLLBACK TO a", "SELECT 1"]
            assert [dict(statement.locks) for statement in await made.traced(statements)] == [
                {},
                {"public.users": Lock.AccessExclusive},
                {},
                {},
            ]

    run(scenario())


def test_catalog_is_read_in_settings_of_its_own(empty_databases: Databases) -> None:
    statements = [
        "SET LOCAL timezone = 'Asia/Tokyo'",
        "ALTER TABLE users ADD a int",
        "ALTER TABLE users ADD at timestamptz DEFAULT '2024-01-01 09:00'",
        "CREATE TABLE shown AS SELECT current_setting('timezone') || current_setting('search_path') AS seen",
        "DO $$ BEGIN ASSERT (SELECT seen LIKE 'Asia/Tokyo%public' FROM shown); END $$",
    ]

    async def scenario() -> None:
        async with bench(empty_databases.urls["main"]) as made:
            *_, default, _, last = await made.traced(statements)
            (change,) = default.changes
            assert "2024-01-01 00:00:00+00" in (change.new("default") or "")
            assert last.error is None

    run(scenario())


def changed(traced: TracedStatement) -> set[str]:
    return {f"{_SIGNS[change.op]}{change.key}" for change in traced.changes}


_SIGNS = {Op.ADDED: "+", Op.REMOVED: "-", Op.CHANGED: "~"}


@pytest.fixture(scope="module")
def changes(server: Server) -> dict[str, set[str]]:
    """What statements change in the catalog."""
    databases = Databases(server)

    async def scenario() -> dict[str, set[str]]:
        await databases.create()
        async with bench(databases.urls["main"]) as made:
            return {statement: changed(*await made.traced([statement])) for statement in CHANGES}

    try:
        return run(scenario())
    finally:
        run(databases.drop())


CHANGES = {
    "ALTER TABLE people DROP COLUMN bio CASCADE": {
        "-column public.people.bio",
        "-index public.ix_people_bio",
        "-index public.mv_people_id",
        "-materialized view public.mv_people",
        "-view public.v_people",
        "-view public.v_people2",
    },
    "ALTER TABLE logs ADD CONSTRAINT pk PRIMARY KEY USING INDEX ux_logs_at": {
        "~column public.logs.at",
        "+constraint public.logs.pk",
        "+index public.pk",
        "-index public.ux_logs_at",
    },
    "ALTER TYPE mood ADD VALUE 'great'": {"~enum public.mood"},
    "DO $$ BEGIN ALTER TABLE tiny ADD x int; END $$": {"+column public.tiny.x"},
    "UPDATE users SET bio = ''": set(),
    "CREATE TEMP TABLE scratch (id int)": set(),
    "ALTER TABLE orders DISABLE TRIGGER ALL": {"~constraint public.orders.fk_orders_user"},
}


@pytest.mark.parametrize("statement", CHANGES)
def test_changes_of_the_catalog_are_those_of_the_statement(
    changes: dict[str, set[str]], statement: str
) -> None:
    assert changes[statement] == CHANGES[statement]


# Plans


FIRST = """
op.execute("CREATE TYPE mood AS ENUM ('ok')")
op.execute("CREATE TABLE users (id bigint PRIMARY KEY, age int, at timestamp)")
op.execute("CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint)")
"""


@pytest.fixture
def project(project_folder: Path) -> Project:
    """A project whose first revision makes two tables."""
    made = Project(project_folder)
    made.write_settings()
    made.revision("main", "r0", None, FIRST, "pass")
    return made


def traced_plan(
    server: Server,
    *,
    transaction_mode: TransactionMode = TransactionMode.ALL,
    live: str | None = None,
    events: list[Event] | None = None,
) -> Trace:
    """The trace of everything above the first revision of the current directory's project."""
    flags = {"scratch_url": server.admin_url, "database_url": live, "transaction": transaction_mode}
    deployment = Deployment(load(flags, environ={}))
    plan = Planner(deployment, ["head"], Direction.UP)({"main": ("r0",), "credentials": ()})
    notify = ignore_event if events is None else events.append
    return run(trace_plan(deployment, plan, major=major_of(server), notify=notify))


def marks(path: Path) -> dict[str, int]:
    """The lines of a file that end in a comment, by it."""
    lines = path.read_text().splitlines()
    return {line.partition("  # ")[2]: number for number, line in enumerate(lines, 1) if "  # " in line}


def test_statements_are_known_by_their_line_and_sent_without_values(project: Project, server: Server) -> None:
    project.write(
        "shop/building.py",
        """
        from alembic import op

        def twice(table):
            for name in ("a", "b"):
                op.execute(f"ALTER TABLE {table} ADD COLUMN {name} int")
        """,
    )
    path = project.revision(
        "main",
        "r1",
        "r0",
        """
twice("users")  # helper
for name in ("c", "d"):
    op.add_column(  # loop
        "users",
        sa.Column(name, sa.Integer),
    )
with op.batch_alter_table("orders") as batch:  # batch
    batch.add_column(sa.Column("e", sa.Integer))
    batch.add_column(sa.Column("f", sa.Integer))
users = sa.table("users", sa.column("age", sa.Integer))
op.execute(users.update().values(age=4711))  # values
op.get_bind().execute(sa.text("SELECT :secret").bindparams(secret="hush"))  # connection
op.bulk_insert(users, [{"age": 12345}, {"age": 12346}])  # rows
""",
        "pass",
        imports="from shop.building import twice",
    )
    result = traced_plan(server)
    assert (result.untraced, {statement.file for statement in result.statements}) == ((), {str(path)})
    named = {line: name for name, line in marks(path).items()}
    assert [named[statement.line or 0] for statement in result.statements] == [
        *("helper", "helper", "loop", "loop", "batch", "batch", "values", "connection", "rows")
    ]
    texts = " ".join(statement.sql for statement in result.statements)
    assert "UPDATE users SET age=$1" in texts
    assert not any(value in texts for value in ("4711", "hush", "12345"))
    assert {
        (statement.database, statement.segment, statement.revision) for statement in result.statements
    } == {("main", 1, "r1")}


def test_locks_reach_over_the_revisions_of_a_transaction_and_born_tables_have_none(
    project: Project, server: Server
) -> None:
    project.revision("main", "r1", "r0", 'op.execute("ALTER TABLE users ADD COLUMN a int")', "pass")
    project.revision("main", "r2", "r1", 'op.create_table("fresh", sa.Column("id", sa.Integer))', "pass")
    project.revision("main", "r3", "r2", 'op.create_index("ix", "fresh", ["id"])', "pass")
    held = {"public.users": Lock.AccessExclusive}
    together = traced_plan(server)
    assert [dict(statement.locks) for statement in together.statements] == [held, held, held]
    assert [dict(statement.locks_before) for statement in together.statements] == [{}, held, held]
    assert [statement.created_relations for statement in together.statements] == [
        frozenset(),
        *[frozenset({"public.fresh"})] * 2,
    ]
    apart = traced_plan(server, transaction_mode=TransactionMode.PER_REVISION)
    assert [(statement.segment, dict(statement.locks)) for statement in apart.statements] == [
        (1, held),
        (2, {}),
        (3, {}),
    ]
    assert [shown(statement) for statement in apart.statements][2] == "[index build fresh]"


def test_failing_statement_ends_the_trace_and_what_follows_is_named(project: Project, server: Server) -> None:
    """A value of an enum cannot be used in the transaction that adds it, however it is hidden."""
    hidden = "DO $$ BEGIN EXECUTE 'ALTER TYPE mood ADD' || ' VALUE ''bad'''; END $$"
    project.revision("main", "r1", "r0", f"op.execute({hidden!r})", "pass")
    project.revision("main", "r2", "r1", "op.execute(\"SELECT 'bad'::mood\")", "pass")
    project.revision("main", "r3", "r2", "pass", "pass")
    project.revision("main", "r4", "r3", "pass", "pass", more="transactional = False")
    result = traced_plan(server)
    assert [statement.revision for statement in result.statements] == ["r1", "r2"]
    assert result.untraced == ("main@r3", "main@r4")
    assert result.statements[-1].error == ServerError(
        "55P04",
        'unsafe use of new value "bad" of enum type mood',
    )
    apart = traced_plan(server, transaction_mode=TransactionMode.PER_REVISION)
    assert ([statement.error for statement in apart.statements], apart.untraced) == ([None, None], ())


def test_locks_taken_between_statements_are_not_those_of_the_next_one(
    project: Project, server: Server
) -> None:
    """The check of a deferred constraint at the end of a step, and what a step sends past SQLAlchemy.

    A commit of the step releases the locks.
    """
    made = """
op.execute("INSERT INTO users (id) VALUES (1)")
op.execute("CREATE TABLE child (id int REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)")
"""
    past = """
op.execute("CREATE TABLE second (id int)")
await_only(op.get_bind().connection.driver_connection.execute("LOCK TABLE users"))
op.execute("CREATE TABLE third (id int)")
"""
    committing = """
op.execute("LOCK TABLE users")
op.get_bind().commit()
op.execute("CREATE TABLE fourth (id int)")
"""
    project.revision("main", "r0", None, FIRST + made, "pass")
    project.revision("main", "r1", "r0", 'op.execute("INSERT INTO child VALUES (1)")', "pass")
    project.revision("main", "r2", "r1", 'op.execute("CREATE TABLE first (id int)")', "pass")
    project.revision("main", "r3", "r2", past, "pass", imports="from sqlalchemy.util import await_only")
    project.revision("main", "r4", "r3", committing, "pass")
    traced = traced_plan(server).statements
    assert [shown(statement) for statement in traced] == ["child:RE", "", "", "", "users:AE", ""]
    before = [statement.locks_before.get("public.users") for statement in traced]
    assert before == [None, Lock.RowShare, Lock.RowShare, Lock.AccessExclusive, None, None]


FAILING = {
    "second of two statements in one text": (
        'op.execute("SELECT 1; SELECT nothing")',
        ServerError("42703", 'column "nothing" does not exist'),
    ),
    "dependents are named": (
        'op.execute("CREATE VIEW v AS SELECT age FROM users"); op.drop_column("users", "age")',
        ServerError(
            "2BP01",
            "cannot drop column age of table users because other objects depend on it",
        ),
    ),
    "rows are not quoted": (
        'op.execute("INSERT INTO users (id) VALUES (99), (99)")',
        ServerError("23505", 'duplicate key value violates unique constraint "users_pkey"'),
    ),
    "a colon in a literal is a parameter": (
        "op.execute('SELECT \\'{\"a\":1}\\'')",
        ServerError("", "A value is required for bind parameter '1'"),
    ),
    "never compiled": (
        "op.create_index('i' * 70, 'users', ['age'])",
        ServerError("", f"Identifier '{'i' * 70}' exceeds maximum length of 63 characters"),
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_what_a_failure_says(project: Project, server: Server, case: str) -> None:
    code, error = FAILING[case]
    path = project.revision("main", "r1", "r0", code, "pass")
    result = traced_plan(server)
    assert result.statements[-1].error == error
    assert (result.statements[-1].file, result.statements[-1].revision) == (str(path), "r1")
    assert path.read_text().splitlines()[(result.statements[-1].line or 0) - 1].strip() == code
    assert result.untraced == ()


def test_each_statement_of_one_text_is_traced(project: Project, server: Server) -> None:
    text = "CREATE TABLE fresh (id int); /* ; */ ALTER TABLE users ADD a int; SELECT ';' -- ;"
    project.revision(
        "main", "r1", "r0", f"assert op.get_bind().exec_driver_sql({text!r}).scalar() == ';'", "pass"
    )
    create, alter, select = traced_plan(server).statements
    assert [statement.sql for statement in (create, alter)] == text.replace(" /* ; */", "").split("; ")[:2]
    assert select.sql.startswith("SELECT")
    assert create.created_relations == {"public.fresh"}
    assert "public.users" in alter.locks
    assert alter.changes
    assert not select.changes


def test_conditions_keep_their_literals_and_passwords_do_not(project: Project, server: Server) -> None:
    """The rows of a statement are estimated from its text; only findings mask all of its literals."""
    update = "UPDATE users AS token SET age = 1 WHERE token.age::text < '99'"
    text = f"{update}; SELECT set_config('a.password', 'hush', true)"
    project.revision("main", "r1", "r0", f"op.execute({text!r})", "pass")
    first, last = traced_plan(server).statements
    assert first.sql == update
    assert "hush" not in last.sql


def test_statement_whose_failure_the_revision_catches_ends_nothing(project: Project, server: Server) -> None:
    code = """
try:
    with op.get_bind().begin_nested():
        op.execute("SELECT nothing")
except sa.exc.ProgrammingError:
    op.execute("SELECT 1")
"""
    project.revision("main", "r1", "r0", code, "pass")
    result = traced_plan(server)
    assert [(statement.sql.split()[0], shown(statement)) for statement in result.statements] == [
        ("SAVEPOINT", ""),
        ("ROLLBACK", ""),
        ("SELECT", ""),
    ]
    assert result.untraced == ()


def test_transaction_that_a_step_begins_itself(project: Project, server: Server) -> None:
    code = """
op.execute("BEGIN; ALTER TABLE users ADD COLUMN a int; COMMIT")
op.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
op.execute("ALTER TABLE users ADD COLUMN b int")
op.execute("COMMIT")
"""
    project.revision("main", "r1", "r0", code, "pass", more="transactional = False")
    result = traced_plan(server)
    assert [shown(statement) for statement in result.statements if "ALTER" in statement.sql] == [
        "users:AE",
        "users:AE",
    ]
    assert not any(statement.error for statement in result.statements)


def test_python_that_misses_rows_leaves_its_revision_untraced(project: Project, server: Server) -> None:
    code = """
op.execute("ALTER TABLE users ADD COLUMN a int")
first = op.get_bind().execute(sa.text("SELECT max(id) FROM users")).scalar() + 1
"""
    path = project.revision("main", "r1", "r0", code, "pass")
    project.revision("main", "r2", "r1", "pass", "pass")
    result = traced_plan(server)
    assert result.untraced == ("main@r1", "main@r2")
    assert [statement.error for statement in result.statements] == [None, None]
    assert "main@r1 was not traced to its end" in result.notes[-1]
    assert "TypeError" in result.notes[-1]
    assert f"{path}:" in result.notes[-1]


def test_revision_outside_a_transaction(project: Project, server: Server) -> None:
    code = """
op.add_column("users", sa.Column("code", sa.Text))
with op.get_context().autocommit_block():
    op.create_index("ix_code", "users", ["code"], postgresql_concurrently=True)
    op.alter_column("users", "age", type_=sa.BigInteger)
ensure_index_concurrently(op, "ix_age", "users", ["age"])
"""
    project.revision(
        "main",
        "r1",
        "r0",
        code,
        "pass",
        more="transactional = False",
        imports="from circle_migrate.indexes import ensure_index_concurrently",
    )
    result = traced_plan(server)
    assert [
        (statement.transactional, shown(statement), dict(statement.locks_before))
        for statement in result.statements
    ] == [
        (False, "users:AE", {}),
        (False, "users:SUE [index build users]", {}),
        (False, "users:AE [2 index build users; rewrite users]", {}),
        (False, "users:SUE [index build users]", {}),
    ]


def test_settings_of_the_live_database_decide(
    project: Project, server: Server, empty_databases: Databases
) -> None:
    """A timestamp becomes one with a time zone without a rewrite only where that is UTC."""
    code = 'op.execute("ALTER TABLE users ALTER COLUMN at TYPE timestamptz")'
    project.revision("main", "r1", "r0", code, "pass")
    name = empty_databases.names["main"]
    run(execute(empty_databases, "main", f"ALTER DATABASE {name} SET timezone = 'UTC'"))
    result = traced_plan(server, live=empty_databases.urls["main"])
    assert [shown(statement) for statement in result.statements] == ["users:AE"]
    run(execute(empty_databases, "main", f"ALTER DATABASE {name} SET timezone = 'Europe/Paris'"))
    run(execute(empty_databases, "main", f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    result = traced_plan(server, live=empty_databases.urls["main"])
    assert [shown(statement) for statement in result.statements] == [
        "users:AE [index build users; rewrite users]"
    ]
    assert [note.partition(":")[0] for note in result.notes] == ["credentials"]


def test_unreachable_live_database_is_noted(project: Project, server: Server) -> None:
    project.revision("main", "r1", "r0", "pass", "pass")
    result = traced_plan(server, live="postgresql://u@127.0.0.1:1/none")
    assert result.notes[0].startswith("main: TimeZone and other settings could not be read")
    assert result.statements == ()


def test_role_that_is_missing_on_a_server_of_ours_is_added_and_the_segment_recorded_once(
    project: Project,
) -> None:
    project.revision("main", "r1", "r0", 'op.execute("ALTER TABLE users ADD COLUMN a int")', "pass")
    grant = 'GRANT SELECT ON users TO "the application"'
    project.revision("main", "r2", "r1", f"op.execute({grant!r})", "pass")
    project.revision("main", "r3", "r2", "raise RuntimeError", "pass")
    deployment = Deployment(load(environ={}), "main")
    plan = Planner(deployment, ["head"], Direction.UP)({"main": ("r0",)})
    result = run(trace_plan(deployment, plan, major=None, notify=ignore_event))
    assert [statement.sql.partition(" ")[0] for statement in result.statements] == ["ALTER", "GRANT"]
    assert [statement.error for statement in result.statements] == [None, None]
    assert result.untraced == ("main@r3",)


def test_segment_that_is_tried_again_is_recorded_once(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
op.execute("ALTER TABLE users ADD COLUMN a int")
if os.environ.pop("IS_LOCKED", ""):
    op.execute("DO $$ BEGIN RAISE lock_not_available; END $$")
"""
    monkeypatch.setenv("IS_LOCKED", "1")
    project.revision("main", "r1", "r0", code, "pass", more="import os")
    (statement,) = traced_plan(server).statements
    assert (shown(statement), changed(statement)) == ("users:AE", {"+column public.users.a"})


async def scratches(server: Server) -> int:
    connection = await asyncpg.connect(server.admin_url)
    try:
        query = "SELECT count(*) FROM pg_database WHERE left(datname, length($1)) = $1"
        return int(await connection.fetchval(query, PREFIX))
    finally:
        await connection.close()


def test_progress_is_told_and_nothing_stays_when_interrupted(project: Project, server: Server) -> None:
    project.revision("main", "r1", "r0", 'op.execute("ALTER TABLE users ADD COLUMN a int")', "pass")
    project.revision("main", "r2", "r1", 'op.execute("SELECT pg_sleep(60)")', "pass")
    deployment = Deployment(load({"scratch_url": server.admin_url}, environ={}))
    plan = Planner(deployment, ["head"], Direction.UP)({"main": ("r0",), "credentials": ()})
    events: list[Event] = []

    async def scenario() -> None:
        begun = asyncio.Event()

        def notify(event: Event) -> None:
            events.append(event)
            if "r2" in event.text and event.kind is EventKind.STARTED:
                begun.set()

        task = asyncio.create_task(trace_plan(deployment, plan, major=None, notify=notify))
        await begun.wait()
        await asyncio.sleep(0.05)
        assert await scratches(server) == 2
        task.cancel()
        with pytest.raises(Interrupted):
            await task

    run(scenario())
    assert run(scratches(server)) == 0
    assert [event.text for event in events if event.kind is EventKind.STARTED] == [
        "upgrade r1 Revision r1",
        "upgrade r2 Revision r2",
    ]


def test_progress_counts_the_steps_of_all_databases(project: Project, server: Server) -> None:
    project.revision("main", "r1", "r0", 'op.execute("ALTER TABLE users ADD COLUMN a int")', "pass")
    project.revision("credentials", "c0", None, 'op.execute("CREATE TABLE secret (id int)")', "pass")
    events: list[Event] = []
    traced_plan(server, events=events)
    started = sorted((event.number, event.total) for event in events if event.kind is EventKind.STARTED)
    assert started == [(1, 2), (2, 2)]


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN])
def test_own_revisions_run_without_error(server: Server, direction: Direction) -> None:
    deployment = Deployment(
        load({"scratch_url": server.admin_url, "transaction": "per-revision"}, environ={})
    )
    heads = {name: graph.effective_heads for name, graph in deployment.graphs.items()}
    up = direction is Direction.UP
    current = dict.fromkeys(heads, ()) if up else heads
    plan = Planner(deployment, ["head" if up else "base"], direction)(current)
    result = run(trace_plan(deployment, plan, major=None, notify=ignore_event))
    assert (result.untraced, [statement for statement in result.statements if statement.error]) == ((), [])
    assert {(statement.database, statement.revision) for statement in result.statements} == {
        (step.database, step.revision.id) for step in plan.actions if isinstance(step, Step)
    }
    blocking = {Lock.Share, Lock.AccessExclusive}
    worked = {
        statement.revision
        for statement in result.statements
        if any(statement.locks.get(work.relation) in blocking for work in statement.work)
    }
    assert worked == set()
