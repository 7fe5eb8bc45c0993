"""Which statements of a run are in its trace."""

from __future__ import annotations

from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection

from circle_migrate.config.load import load
from circle_migrate.migrate.alembic_adapter.autocommit import autocommit
from circle_migrate.postgres.deployment import Deployment
from circle_migrate.safety.trace.record import Task, Work
from circle_migrate.safety.trace.recorder import Recorder, SourceLocation
from circle_migrate.safety.trace.traced_connection import TracedConnection
from tests.servers import Databases, run


def test_statement_before_which_a_listener_sends_another_is_recorded(empty_databases: Databases) -> None:
    """The search for an INVALID index is sent before each concurrent build."""
    build = "CREATE INDEX CONCURRENTLY ix_users ON users (id)"
    recorder = Recorder(lambda: SourceLocation("revision.py", 1))

    def send(connection: Connection, traced: TracedConnection) -> None:
        recorder.listen(connection, traced)
        with autocommit(MigrationContext.configure(connection)):
            connection.exec_driver_sql(build)

    async def scenario() -> None:
        urls = {"DATABASE_URL": empty_databases.urls["main"]}
        database = Deployment(load(environ=urls)).databases["main"]
        async with database.working("circle-migrate test", {}) as connection:
            await connection.run_sync(Connection.exec_driver_sql, "CREATE TABLE users (id int)")
            await connection.commit()
            driver = (await connection.adapter()).driver
            traced = TracedConnection(driver, database.settings)
            await traced.begin()
            await connection.run_sync(send, traced)

    run(scenario())
    [statement] = recorder.statements
    assert (statement.sql, statement.work) == (build, (Work(Task.INDEX_BUILD, "public.users"),))
