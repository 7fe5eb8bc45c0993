"""Indexes created and dropped concurrently, from every state that an interrupted run may leave."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateIndexOp, ExecuteSQLOp
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.naming import conv

from circle_migrate.core.errors import MigrationFailed
from circle_migrate.indexes import drop_index_concurrently, drop_invalid, ensure_index_concurrently
from tests.alembic_driver import on_connection
from tests.servers import Databases, Server, created_pair, run

TABLES = """
    CREATE TABLE people (id integer, name text, "Odd name" text);
    CREATE TABLE others (id integer, name text);
    CREATE SCHEMA side;
    CREATE TABLE side.people (id integer, name text);
    INSERT INTO people (id, name) SELECT n, 'n' || n FROM generate_series(1, 100) AS n
"""
# The index that an interrupted build leaves: INVALID, and its name is in use.
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix'::regclass"
FIND = """
    SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relname = 'ix'
"""
BUILDING = "SELECT count(*) FROM pg_stat_progress_create_index WHERE index_relid = to_regclass('ix')"
PLAIN = ("CREATE INDEX ix ON public.people USING btree (name)", True)

LOCK_TIMEOUT_MS = 20
HANGS_SECONDS = 30

Step = Callable[[Operations], None]


def ensure(*columns: Any, **options: Any) -> Step:
    return lambda op: ensure_index_concurrently(op, "ix", "people", columns, **options)


def drop(**options: Any) -> Step:
    return lambda op: drop_index_concurrently(op, "ix", "people", **options)


@pytest.fixture(scope="module")
def _pair(server: Server) -> Iterator[Databases]:
    with created_pair(server) as pair:
        yield pair


@pytest.fixture
def databases(_pair: Databases) -> Databases:
    """Databases that have no object of an earlier test; making them takes longer than most tests here."""
    run(
        execute(_pair, "DROP SCHEMA IF EXISTS side CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    )
    return _pair


async def execute(databases: Databases, *scripts: str) -> None:
    async with databases.connect("main") as connection:
        for script in scripts:
            await connection.execute(script)


async def apply(databases: Databases, step: Step) -> None:
    """Run one step as a revision in a transaction of Alembic."""

    def migrate(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
        connection.exec_driver_sql("SET statement_timeout = '5678ms'")
        connection.commit()
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        try:
            with context.begin_transaction(_per_migration=True):
                step(Operations(context))
        finally:
            connection.rollback()
            after = [connection.scalar(text(f"SHOW {name}_timeout")) for name in ("lock", "statement")]
            assert after == [f"{LOCK_TIMEOUT_MS}ms", "5678ms"]

    await on_connection(databases.urls["main"], migrate)


async def indexes(databases: Databases) -> list[tuple[Any, ...]]:
    async with databases.connect("main") as connection:
        return [tuple(row) for row in await connection.fetch(FIND)]


@pytest.mark.parametrize(
    ("first", "step", "expected"),
    [
        pytest.param("SELECT 1", ensure("name"), [PLAIN], id="absent"),
        pytest.param("CREATE INDEX ix ON people (name)", ensure("name"), [PLAIN], id="valid"),
        pytest.param(f"CREATE INDEX ix ON people (name); {INVALID}", ensure("name"), [PLAIN], id="invalid"),
        pytest.param(
            "SELECT 1",
            ensure("name", "id", unique=True, postgresql_where=text("id > 5"), postgresql_using="btree"),
            [("CREATE UNIQUE INDEX ix ON public.people USING btree (name, id) WHERE (id > 5)", True)],
            id="options",
        ),
        pytest.param(
            f'CREATE INDEX ix ON people (lower("Odd name"), id); {INVALID}',
            ensure(text('lower("Odd name")'), "id"),
            [('CREATE INDEX ix ON public.people USING btree (lower("Odd name"), id)', True)],
            id="expression",
        ),
        pytest.param(
            "CREATE INDEX ix ON people (name)",
            ensure("name", schema="side"),
            [PLAIN, ("CREATE INDEX ix ON side.people USING btree (name)", True)],
            id="same name in another schema",
        ),
        pytest.param("CREATE INDEX ix ON people (name)", drop(), [], id="drop"),
        pytest.param(f"CREATE INDEX ix ON people (name); {INVALID}", drop(), [], id="drop invalid"),
        pytest.param("SELECT 1", drop(), [], id="drop absent"),
        pytest.param(
            "CREATE INDEX ix ON people (name); CREATE INDEX ix ON side.people (name)",
            drop(schema="side"),
            [PLAIN],
            id="drop in another schema",
        ),
    ],
)
def test_end_state(databases: Databases, first: str, step: Step, expected: list[Any]) -> None:
    async def scenario() -> list[tuple[Any, ...]]:
        await execute(databases, TABLES, first)
        await apply(databases, step)
        return await indexes(databases)

    assert sorted(run(scenario())) == sorted(expected)


@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize(
    ("there", "step", "message"),
    [
        ("INDEX ix ON others (name)", ensure("name"), "belongs to an index of others"),
        ("INDEX ix ON others (name)", drop(), "belongs to an index of others"),
        ("INDEX ix ON people (id)", ensure("name"), "another definition"),
        ("INDEX ix ON people (name, id)", ensure("name"), "another definition"),
        ("INDEX ix ON people (lower(name))", ensure("name"), "another definition"),
        ("INDEX ix ON people (name)", ensure("name", unique=True), "another definition"),
        ("UNIQUE INDEX ix ON people (name)", ensure("name"), "another definition"),
    ],
)
def test_another_index_of_that_name_is_never_touched(
    databases: Databases, there: str, step: Step, message: str, invalid: bool
) -> None:
    first = f"CREATE {there}" + (f"; {INVALID}" if invalid else "")

    async def scenario() -> None:
        await execute(databases, TABLES, first)
        before = await indexes(databases)
        with pytest.raises(MigrationFailed, match=message):
            await apply(databases, step)
        assert await indexes(databases) == before

    run(scenario())


def test_failed_unique_build_is_built_again_once_the_rows_allow_it(databases: Databases) -> None:
    async def scenario() -> list[bool]:
        await execute(databases, TABLES, "UPDATE people SET name = 'same'")
        with pytest.raises(DBAPIError, match="could not create unique index"):
            await apply(databases, ensure("name", unique=True))
        before = [valid for _, valid in await indexes(databases)]
        await execute(databases, "UPDATE people SET name = id")
        await apply(databases, ensure("name", unique=True))
        return before + [valid for _, valid in await indexes(databases)]

    assert run(scenario()) == [False, True]


LONG = "ix_" + "a_rather_long_name_" * 4
OF_TABLES = "WHERE indrelid IN (SELECT oid FROM pg_class WHERE oid > 16383 AND relkind = 'r')"
BYTES = "ix_" + "\u00e4\u20ac" * 20


def build(operation: MigrateOperation) -> Step:
    """Return a step that runs the operation as a revision does."""

    def step(op: Operations) -> None:
        def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            drop_invalid(op, statement)

        event.listen(op.get_bind(), "before_cursor_execute", before)
        with op.get_context().autocommit_block():
            op.invoke(operation)

    return step


def build_by_sql(name: str, table: str) -> Step:
    return build(ExecuteSQLOp(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} (name)"))


def build_unnamed(definition: str) -> Step:
    return build(ExecuteSQLOp(f"CREATE INDEX CONCURRENTLY ON {definition}"))


def build_by_alembic(name: str, table: str = "people", **options: Any) -> Step:
    options |= {"postgresql_concurrently": True, "if_not_exists": True}
    return build(CreateIndexOp(name, table, ["name"], **options))


def ensure_named(name: str, table: str = "people") -> Step:
    return lambda op: ensure_index_concurrently(op, name, table, ["name"])


@pytest.mark.parametrize(
    "step",
    [
        build_by_sql("IX_People", "PEOPLE"),
        build_by_sql('"IX ""odd"" People"', 'only "People"'),
        build_by_sql(LONG, "people"),
        build_by_sql(f'"{BYTES}"', "Public . people"),
        build_by_sql('"ix.dotted"', '"side"."people"'),
        build_by_sql('"quoted"', '"people"'),
        build_by_sql("/* of people */ ix -- by name\n", "/**/ only --\n people"),
        build_by_sql('U&"ix\\2014 \\+01F600""!"', "u&\"Peopl!0065\" UESCAPE '!'"),
        build_by_sql('U&"ix\\D83D\\DE00"', "people"),
        build_unnamed("people (name, id)"),
        build_unnamed('"People" USING btree (lower(name), (name || name)) INCLUDE (name)'),
        build_by_alembic("IX_People", "People"),
        build_by_alembic('IX "odd" 100% People'),
        build_by_alembic(BYTES),
        build_by_alembic(conv(LONG)),
        build_by_alembic("order", schema="side"),
        ensure_named("IX_People", "People"),
        ensure_named('IX "odd" 100% People'),
        ensure_named(LONG),
        ensure_named(BYTES),
        ensure_named(conv(LONG)),
    ],
)
def test_invalid_index_of_any_name_is_built_again(databases: Databases, step: Step) -> None:
    index = f"SELECT indexrelid::regclass::text, indisvalid FROM pg_index {OF_TABLES}"
    invalid = f"UPDATE pg_index SET indisvalid = false {OF_TABLES}"

    async def scenario() -> None:
        await execute(databases, TABLES, 'CREATE TABLE "People" (name text)')
        result = []
        for _ in range(2):
            await apply(databases, step)
            async with databases.connect("main") as connection:
                result.append([tuple(row) for row in await connection.fetch(index)])
                await connection.execute(invalid)
        assert result[0] == result[1]
        ((_, valid),) = result[0]
        assert valid

    run(scenario())


@pytest.mark.parametrize("name", [LONG, BYTES, conv(LONG), 'IX "odd" 100%'])
def test_index_of_any_name_is_dropped(databases: Databases, name: str) -> None:
    async def scenario() -> object:
        await execute(databases, TABLES)
        await apply(databases, ensure_named(name))
        await apply(databases, lambda op: drop_index_concurrently(op, name, "people"))
        async with databases.connect("main") as connection:
            return await connection.fetchval(f"SELECT count(*) FROM pg_index {OF_TABLES}")

    assert run(scenario()) == 0


@asynccontextmanager
async def unfinished_write(databases: Databases) -> AsyncIterator[None]:
    """Hold an open transaction, for which every concurrent build on the table waits."""
    async with databases.connect("main") as writer, writer.transaction():
        await writer.execute("INSERT INTO people (id) VALUES (0)")
        yield


async def until_building(databases: Databases) -> None:
    async with databases.connect("main") as observer:
        while not await observer.fetchval(BUILDING):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


def test_build_waits_for_older_transactions_beyond_lock_timeout(databases: Databases) -> None:
    async def scenario() -> list[tuple[Any, ...]]:
        await execute(databases, TABLES)
        async with unfinished_write(databases):
            build = asyncio.create_task(apply(databases, ensure("name")))
            await until_building(databases)
            await asyncio.sleep(10 * LOCK_TIMEOUT_MS / 1000)
        await build
        return await indexes(databases)

    assert run(scenario()) == [PLAIN]


@pytest.mark.parametrize("step", [ensure("name"), drop()])
def test_index_another_session_is_building_is_left_to_it(databases: Databases, step: Step) -> None:
    async def scenario() -> list[tuple[Any, ...]]:
        await execute(databases, TABLES)
        async with databases.connect("main") as builder:
            async with unfinished_write(databases):
                build = asyncio.create_task(builder.execute("CREATE INDEX CONCURRENTLY ix ON people (name)"))
                await until_building(databases)
                with pytest.raises(MigrationFailed, match=f"pid {builder.get_server_pid()}"):
                    await asyncio.wait_for(apply(databases, step), HANGS_SECONDS)
            await build
        return await indexes(databases)

    assert run(scenario()) == [PLAIN]


@pytest.mark.parametrize(
    ("step", "sql"),
    [
        (ensure("name"), "CREATE INDEX CONCURRENTLY ix ON people (name);"),
        (
            ensure("name", unique=True, schema="side"),
            "CREATE UNIQUE INDEX CONCURRENTLY ix ON side.people (name);",
        ),
        (drop(), "DROP INDEX CONCURRENTLY IF EXISTS ix;"),
        (drop(schema="side"), "DROP INDEX CONCURRENTLY IF EXISTS side.ix;"),
    ],
)
def test_rendered_offline_outside_a_transaction(step: Step, sql: str) -> None:
    output = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql",
        opts={"as_sql": True, "output_buffer": output, "transaction_per_migration": True},
    )
    with context.begin_transaction(_per_migration=True):
        step(Operations(context))
    assert output.getvalue().split("\n\n") == ["BEGIN;", "COMMIT;", sql, "BEGIN;", "COMMIT;", ""]
