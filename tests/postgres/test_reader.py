"""The catalog that is read over one connection many times."""

from __future__ import annotations

import asyncpg

from circle_migrate.config.load import load
from circle_migrate.postgres.catalog.reader import CatalogReader
from circle_migrate.postgres.catalog.snapshot import ObjectKey
from circle_migrate.postgres.deployment import Deployment
from tests.deployments import deployment
from tests.servers import Databases, run

_EXECUTIONS = """
SELECT coalesce(sum(generic_plans), 0)::int FROM pg_prepared_statements
WHERE custom_plans = 0 AND statement LIKE '%pg_class%'
"""


def test_queries_are_planned_once_and_see_the_transaction(empty_databases: Databases) -> None:
    column = ObjectKey("column", "public.t.b")

    async def read() -> None:
        deployment = Deployment(load(environ={"DATABASE_URL": empty_databases.urls["main"]}))
        settings = deployment.databases["main"].settings
        connection = await asyncpg.connect(empty_databases.urls["main"], statement_cache_size=0)
        try:
            await connection.execute("BEGIN; CREATE TABLE t (a int)")
            reader = CatalogReader(connection, settings)
            assert column not in (await reader.snapshot()).objects
            await connection.execute("ALTER TABLE t ADD b int")
            assert column in (await reader.snapshot()).objects
            assert await connection.fetchval(_EXECUTIONS) >= 6
            await connection.execute("DEALLOCATE ALL; ALTER TABLE t DROP b")
            assert column not in (await reader.snapshot()).objects
            assert column not in await reader.object_ids()
            await connection.execute("ALTER TABLE t ADD b int")
            assert column in await CatalogReader(connection, settings).object_ids()
            name = await connection.fetchval("SELECT min(name) FROM pg_prepared_statements")
            await connection.execute(f'DEALLOCATE "{name}"')
            assert column in (await reader.snapshot()).objects
            assert column in await reader.object_ids()
        finally:
            await connection.close()

    run(read())


def test_change_is_read_by_one_query_beside_our_own_tables(empty_databases: Databases) -> None:
    async def read() -> None:
        ours = deployment(empty_databases)
        async with empty_databases.connect("main") as connection:
            steps = "CREATE TABLE steps (id int GENERATED ALWAYS AS IDENTITY)"
            await connection.execute(f"CREATE TABLE t (a int); CREATE SCHEMA circle_migrate {steps}")
            reader = CatalogReader(connection, ours.databases["main"].settings)
            await reader.snapshot()
            executions = []
            for number in range(3):
                await connection.execute(f"COMMENT ON COLUMN t.a IS '{number}'")
                snapshot = await reader.snapshot()
                executions.append(await connection.fetchval(_EXECUTIONS))
            assert snapshot.value(ObjectKey("column", "public.t.a"), "comment") == "2"
            assert executions[1:] == [executions[0] + 1, executions[0] + 2]

    run(read())


def test_queries_are_planned_again_for_twice_as_many_relations(empty_databases: Databases) -> None:
    async def prepared(connection: asyncpg.Connection, reader: CatalogReader, text: str) -> int:
        await connection.execute(text)
        await reader.snapshot()
        return int(await connection.fetchval("SELECT count(*) FROM pg_prepared_statements"))

    async def read() -> None:
        deployment = Deployment(load(environ={"DATABASE_URL": empty_databases.urls["main"]}))
        async with empty_databases.connect("main") as connection:
            reader = CatalogReader(connection, deployment.databases["main"].settings)
            tables = "; ".join(f"CREATE TABLE t{number} ()" for number in range(9))
            counts = [
                await prepared(connection, reader, text)
                for text in (tables, "COMMENT ON TABLE t1 IS 'a'", "COMMENT ON TABLE t1 IS 'b'")
            ]
            assert counts[1] == counts[2]
            more = "; ".join(f"CREATE TABLE u{number} ()" for number in range(20))
            await prepared(connection, reader, more)
            assert await prepared(connection, reader, "COMMENT ON TABLE t1 IS 'c'") > counts[2]

    run(read())
