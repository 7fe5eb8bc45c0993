"""A revision that is no file yet, run on a scratch database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import Operations

from circle_migrate.migrate.alembic_adapter.context import Context

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def run_source(connection: Connection, source: str, function: str) -> None:
    """Call one function of a revision's text, in a transaction that is committed. Raises what it raises."""
    context = Context(connection.dialect, connection, {})
    names: dict[str, Any] = {}
    exec(compile(source, "the new revision", "exec"), names)  # noqa: S102 - our own text
    names["op"] = Operations(context)
    with context.begin_transaction():
        names[function]()
