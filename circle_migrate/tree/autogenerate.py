"""What the models have that a database has not, as Alembic finds and writes it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import produce_migrations, render_python_code

from circle_migrate.database import RUNS, STEPS
from circle_migrate.tree.context import Context, VersionTable, dialect

if TYPE_CHECKING:
    from alembic.operations.ops import MigrationScript
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection


def compare(connection: Connection, metadata: MetaData, table: VersionTable) -> MigrationScript:
    """What Alembic's autogenerate finds to do on the database to reach the models."""
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _parents: kind != "table" or name not in (RUNS, STEPS),
        "target_metadata": metadata,
        **table.options,
    }
    context = Context(connection.dialect, connection, options)
    _compare_sequences_as_text(context)
    with warnings.catch_warnings():
        # SQLAlchemy 2.1 reflects NOT VALID as an option it does not know for CHECK constraints.
        warnings.filterwarnings("ignore", "Can.t validate argument 'dialect_options'")
        # A type SQLAlchemy has no class for is left alone, which is right, and nothing to alarm anybody with.
        warnings.filterwarnings("ignore", "Did not recognize type")
        return produce_migrations(context, metadata)


def _compare_sequences_as_text(context: Context) -> None:
    """Alembic compares defaults by running them, which would advance a sequence of the database."""
    by_running: Any = context.impl.compare_server_default

    def compare_default(
        inspected: Any, column: Any, rendered: str | None, inspected_default: str | None
    ) -> bool:
        if any(text and "nextval(" in text for text in (rendered, inspected_default)):
            return rendered != inspected_default
        return bool(by_running(inspected, column, rendered, inspected_default))

    context.impl.compare_server_default = compare_default  # type: ignore[method-assign]


def as_code(script: MigrationScript) -> Mapping[str, str]:
    """The bodies of upgrade() and downgrade() for a comparison's result, indented for a function."""
    context = Context(dialect(), None, {})
    sides = {"upgrade": script.upgrade_ops, "downgrade": script.downgrade_ops}
    return {
        name: render_python_code(operations, migration_context=context)
        for name, operations in sides.items()
        if operations is not None
    }
