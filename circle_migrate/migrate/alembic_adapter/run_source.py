"""Run the source of a revision that has no file, on a scratch database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import Operations

from circle_migrate.config.settings import DatabaseSettings
from circle_migrate.migrate.alembic_adapter.context import Context
from circle_migrate.migrate.alembic_adapter.environment import naming_options

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def run_source(connection: Connection, source: str, function: str, settings: DatabaseSettings) -> None:
    """Call a function of the revision and commit. Raises the function's errors."""
    context = Context(connection.dialect, connection, naming_options(settings))
    namespace: dict[str, Any] = {}
    exec(compile(source, "the new revision", "exec"), namespace)  # noqa: S102 - this package wrote it
    namespace["op"] = Operations(context)
    with context.begin_transaction():
        namespace[function]()
