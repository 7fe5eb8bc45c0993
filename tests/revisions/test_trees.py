"""The platform's two trees: one schema from every origin, every step there and back, models equal to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from circle_migrate.models import credentials, main
from tests import alembic_driver, old_script
from tests.schema_catalog import Catalog, catalog
from tests.servers import Databases, Server, run

DATABASES = ("main", "credentials")
METADATA = {"main": main.metadata, "credentials": credentials.metadata}


async def read(databases: Databases, database: str) -> Catalog:
    async with databases.connect(database) as connection:
        return await catalog(connection)


async def build(databases: Databases, database: str, revision: str, *, rows: bool = True) -> None:
    async with databases.connect(database) as connection:
        await old_script.build(connection, database, revision, rows=rows)


async def all_rows(connection: asyncpg.Connection, like: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every row as JSON, by table; with `like`, only the tables and columns found there."""
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND relname <> 'alembic_version'"
    )
    rows: dict[str, Any] = {}
    for (table,) in tables:
        records = [
            json.loads(row) for (row,) in await connection.fetch(f"SELECT to_json(t) FROM {table} AS t")
        ]
        if like is None:
            rows[table] = sorted(records, key=str)
        elif table in like:
            kept = like[table][0].keys()
            rows[table] = sorted(({key: row[key] for key in kept} for row in records), key=str)
    return rows


async def files(connection: asyncpg.Connection) -> dict[str, int]:
    """Where each table's rows lie: another number after a rewrite."""
    return dict(
        await connection.fetch(
            "SELECT relname, pg_relation_filenode(oid) FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'"
        )
    )


@pytest.fixture(scope="module")
def modelled(server: Server) -> Iterator[dict[str, Catalog]]:
    """What the models alone make of an empty database."""
    databases = Databases(server)

    async def both() -> dict[str, Catalog]:
        for name in DATABASES:
            await alembic_driver.on_connection(databases.urls[name], create_all(METADATA[name]))
        return {name: await read(databases, name) for name in DATABASES}

    run(databases.create())
    yield run(both())
    run(databases.drop())


@pytest.mark.parametrize(
    ("database", "revision"),
    [
        # Later states contain earlier ones.
        pytest.param(name, state, marks=[pytest.mark.thorough] * (state != old_script.REVISIONS[name][-1]))
        for name, state in old_script.STATES
    ],
)
def test_our_revision_leaves_what_the_old_script_left(
    create_databases: Callable[..., Databases], database: str, revision: str
) -> None:
    ours, field = create_databases(), create_databases()

    async def both() -> tuple[Catalog, Catalog]:
        await alembic_driver.upgrade(ours.urls[database], database, revision)
        await build(field, database, revision)
        return await read(ours, database), await read(field, database)

    actual, expected = run(both())
    assert actual == expected


@pytest.mark.thorough
@pytest.mark.parametrize(("database", "revision"), old_script.STATES)
def test_field_database_reaches_the_schema_of_the_models(
    create_databases: Callable[..., Databases], database: str, revision: str, modelled: dict[str, Catalog]
) -> None:
    """Models and empty databases are compared below, so this makes one schema of every origin."""
    field = create_databases()

    async def scenario() -> None:
        await build(field, database, revision)
        async with field.connect(database) as connection:
            rows, places = await all_rows(connection), await files(connection)
            assert all(rows.values()), "every table of the field has rows"
            await alembic_driver.upgrade(field.urls[database], database)
            assert await all_rows(connection, like=rows) == rows
            moved = {
                table
                for table, place in (await files(connection)).items()
                if places.get(table, place) != place
            }
            assert not moved, "a table was rewritten"
        assert await read(field, database) == modelled[database]

    run(scenario())


@pytest.mark.parametrize("database", DATABASES)
def test_models_equal_the_head(
    empty_databases: Databases, database: str, modelled: dict[str, Catalog]
) -> None:
    run(alembic_driver.upgrade(empty_databases.urls[database], database))
    assert run(read(empty_databases, database)) == modelled[database]


# SQLAlchemy passes on what it reflected of a NOT VALID CHECK as an argument it does not know.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options':sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("database", DATABASES)
def test_autogenerate_finds_nothing_at_the_head(empty_databases: Databases, database: str) -> None:
    url = empty_databases.urls[database]

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, METADATA[database])

    async def scenario() -> list[Any]:
        await alembic_driver.upgrade(url, database)
        return await alembic_driver.on_connection(url, differences)

    assert run(scenario()) == []


@pytest.mark.parametrize("database", DATABASES)
def test_each_step_goes_down_and_up_again(
    empty_databases: Databases, database: str, subtests: pytest.Subtests
) -> None:
    url = empty_databases.urls[database]

    async def there_and_back(before: str, revision: str, lower: Catalog) -> Catalog:
        await alembic_driver.upgrade(url, database, revision)
        upper = await read(empty_databases, database)
        assert upper != lower
        await alembic_driver.downgrade(url, database, before)
        assert await read(empty_databases, database) == lower
        await alembic_driver.upgrade(url, database, revision)
        assert await read(empty_databases, database) == upper
        return upper

    reached = run(read(empty_databases, database))
    for before, revision in pairwise(["base", *alembic_driver.revisions(database)]):
        with subtests.test(revision=revision):
            reached = run(there_and_back(before, revision, reached))


@pytest.mark.parametrize(
    ("database", "revision"), [(name, states[-1]) for name, states in old_script.REVISIONS.items()]
)
def test_way_back_from_the_head_keeps_the_rows_of_the_field(
    empty_databases: Databases, database: str, revision: str
) -> None:
    async def scenario() -> None:
        await build(empty_databases, database, revision)
        async with empty_databases.connect(database) as connection:
            schema, rows = await catalog(connection), await all_rows(connection)
            await alembic_driver.upgrade(empty_databases.urls[database], database)
            await alembic_driver.downgrade(empty_databases.urls[database], database, revision)
            assert await catalog(connection) == schema
            assert await all_rows(connection) == rows

    run(scenario())


@pytest.mark.parametrize("database", DATABASES)
def test_way_down_to_base_leaves_nothing(empty_databases: Databases, database: str) -> None:
    async def scenario() -> Catalog:
        await build(empty_databases, database, old_script.REVISIONS[database][-1])
        await alembic_driver.upgrade(empty_databases.urls[database], database)
        await alembic_driver.downgrade(empty_databases.urls[database], database, "base")
        return await read(empty_databases, database)

    assert not any(run(scenario()).values())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("database", "before", "left"),
    [
        pytest.param(
            "credentials",
            "d9aa8768cf02",
            "ALTER TABLE user_credentials ADD google_user_id varchar(255), ADD google_access_token bytea,"
            " ADD google_refresh_token bytea;"
            "CREATE UNIQUE INDEX uq_user_credentials_google_user_id ON user_credentials (google_user_id);"
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'uq_user_credentials_google_user_id'::regclass",
            id="columns and an INVALID index of a1b2c3d4e5f6",
        ),
        pytest.param(
            "credentials", "b6785147bdeb", "DROP INDEX ix_user_credentials_user_id", id="f82fda613c40"
        ),
        pytest.param(
            "main", "dfd5dbbf569e", "DROP INDEX ix_users_id, ix_roles_id", id="half of ddf447585574"
        ),
        pytest.param(
            "main",
            "12ef2947e5b9",
            "CREATE UNIQUE INDEX uq_circle_memberships_transfer_request_id"
            " ON circle_memberships (transfer_request_id)",
            id="8e3c00791810 but for its version",
        ),
    ],
)
def test_step_that_was_cut_off_is_run_again(
    create_databases: Callable[..., Databases], database: str, before: str, left: str
) -> None:
    cut_off, whole = create_databases(), create_databases()

    async def both() -> tuple[Catalog, Catalog]:
        await alembic_driver.upgrade(cut_off.urls[database], database, before)
        async with cut_off.connect(database) as connection:
            await connection.execute(left)
        for databases in (cut_off, whole):
            await alembic_driver.upgrade(databases.urls[database], database)
        return await read(cut_off, database), await read(whole, database)

    actual, expected = run(both())
    assert actual == expected


def test_sequence_of_user_ids_comes_back_behind_the_highest(empty_databases: Databases) -> None:
    url = empty_databases.urls["credentials"]

    async def scenario() -> int:
        await build(empty_databases, "credentials", "c4b0e5c7784e")
        await alembic_driver.upgrade(url, "credentials")
        await alembic_driver.downgrade(url, "credentials", "c4b0e5c7784e")
        async with empty_databases.connect("credentials") as connection:
            return await connection.fetchval("SELECT nextval('user_credentials_user_id_seq')")

    assert run(scenario()) == 501


def create_all(metadata: MetaData) -> Callable[[Connection], None]:
    def create(connection: Connection) -> None:
        metadata.create_all(connection)
        connection.commit()

    return create
