"""Set the current revisions without running a file."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from circle_migrate.migrate.alembic_adapter.context import Context, VersionTable
from circle_migrate.postgres.identifier import literal
from circle_migrate.revision_graph.plan import Stamp

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def stamp_sql(stamp: Stamp, start: Collection[str], table: VersionTable) -> str:
    """Return the statements that change the current revisions from `start` to those of the stamp."""
    name = table.sql_name
    removed, added = sorted({*start} - {*stamp.heads}), sorted({*stamp.heads} - {*start})
    statements = [f"-- Recorded without running a file: {', '.join(stamp.heads)}"]
    statements += [f"DELETE FROM {name} WHERE version_num = {literal(key)};" for key in removed]  # noqa: S608
    statements += [f"INSERT INTO {name} VALUES ({literal(key)});" for key in added]  # noqa: S608 - quoted
    return "\n\n".join([*statements, ""])


def write_stamp(connection: Connection, stamp: Stamp, table: VersionTable) -> None:
    """Let the version table have the revisions of the stamp; create it where it is missing."""
    context = Context(connection.dialect, connection, table.options)
    context._ensure_version_table(purge=True)
    if stamp.heads:
        rows = [{"version_num": head} for head in stamp.heads]
        connection.execute(context._version.insert(), rows)
