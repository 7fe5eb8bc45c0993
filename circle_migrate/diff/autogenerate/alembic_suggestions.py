"""Get Alembic's operations for differences that are already known.

Alembic does not decide what differs: it misses some differences, and runs both defaults to compare them. It
compares only the objects in the list of changes, takes types and defaults from the list, and returns the
operations.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations.ops import AlterColumnOp, MigrateOperation, OpContainer, UpgradeOps
from sqlalchemy import Column, MetaData
from sqlalchemy.engine import Connection

from circle_migrate.migrate.alembic_adapter.context import Context, VersionTable
from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.identifier import split_identity, unquote
from circle_migrate.postgres.journal_tables import OWN_TABLES


class Suggestion(NamedTuple):
    """One operation and its reverse, as indented code."""

    upgrade: str
    downgrade: str


def suggest(
    connection: Connection, models: tuple[MetaData, ...], table: VersionTable, changes: Iterable[Change]
) -> tuple[Suggestion, ...]:
    """Return Alembic's operations for these changes, without those for which it fails."""
    schemas = {table.schema for metadata in models for table in metadata.tables.values()}
    filters = _Filters(schemas, changes, connection.dialect.default_schema_name or "")
    options = {
        "compare_type": filters.type_differs,
        "compare_server_default": True,
        "include_schemas": any(schemas),
        "include_name": filters.include_name,
        "include_object": filters.include_object,
        "target_metadata": models,
        **table.options,
    }
    context = Context(connection.dialect, connection, options)
    # The option `compare_server_default` does not cover computed columns.
    context.impl.compare_server_default = filters.default_differs  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about objects that Alembic cannot compare
        try:
            script = produce_migrations(context, models)  # type: ignore[arg-type] # it takes several
        except Exception:  # noqa: BLE001 - assertions, missing attributes, errors of custom types
            return ()
        # Operations of plugins that `imports` names are left to our own DDL.
        known = (
            op for op in leaves(script.upgrade_ops) if type(op).__module__ == MigrateOperation.__module__
        )
        suggestions = map(_suggestion, known)
        return tuple(suggestion for suggestion in suggestions if suggestion is not None)


def leaves(operation: Any) -> Iterator[MigrateOperation]:
    """Yield the operations of a container and of those in it."""
    for child in operation.ops:
        yield from leaves(child) if isinstance(child, OpContainer) else (child,)


def _suggestion(operation: Any) -> Suggestion | None:
    if isinstance(operation, AlterColumnOp):
        operation.kw.pop("autoincrement", None)  # of MySQL; on PostgreSQL it is a warning in every run
    try:
        return Suggestion(body_of(operation), body_of(operation.reverse()))
    except Exception:  # noqa: BLE001 - as above
        return None


def body_of(operation: MigrateOperation) -> str:
    """Return the lines for a function body, without Alembic's markers. Raises any error of Alembic."""
    code = render_python_code(UpgradeOps([operation]), migration_context=Context.offline({}))
    return "\n".join(line for line in code.splitlines() if not line.strip().startswith("# ###"))


class _Filters:
    """Alembic's callbacks, which restrict the comparison to the changed objects."""

    def __init__(self, schemas: Iterable[str | None], changes: Iterable[Change], default_schema: str) -> None:
        self._schemas = {None, *schemas}
        self._default_schema = default_schema
        self._fields: dict[tuple[str, ...], frozenset[str]] = {}
        self._whole_tables: set[tuple[str, ...]] = set()
        self._changed_tables: set[tuple[str, ...]] = set()
        for change in changes:
            names = _names(change.key.identity)
            table = _names(change.owner.identity) if change.owner else names
            numbers = "identity" in change.fields or "nextval(" in str(change.fields.get("default"))
            if change.op is not Op.CHANGED or not numbers:  # Alembic does not make the sequence of a column
                self._fields[change.key.kind, *names] = frozenset(change.fields)
            self._changed_tables.add(table)
            if change.key.kind == "table" and change.op is not Op.CHANGED:
                self._whole_tables.add(names)

    def include_name(self, name: str | None, kind: str, _parents: object) -> bool:
        """Exclude our own tables and schemas without models."""
        if kind == "schema":
            return name in self._schemas
        return kind != "table" or name not in OWN_TABLES

    def include_object(self, item: Any, name: str | None, kind: str, _: object, other: object) -> bool:
        """Include the objects that differ. A table on one side only may be a partition of both."""
        table = self._table(item if kind == "table" else item.table)
        if kind == "table" or table in self._whole_tables:
            return table in (self._whole_tables if other is None else self._changed_tables)
        if kind == "column":
            return (kind, *table, name or "") in self._fields
        if kind == "index" and ("index", table[0], name or "") in self._fields:
            return True
        # The name of a constraint without one is unknown; a downgrade needs it.
        return ("constraint", *table, name or "") in self._fields

    def type_differs(self, _context: object, column: Column[Any], *_types: object) -> bool:
        """Return whether the type of a column differs."""
        return not self._column_fields(column).isdisjoint({"type", "collation"})

    def default_differs(self, column: Column[Any], *_defaults: object) -> bool:
        """Replace the comparison of the dialect, which runs both defaults in PostgreSQL."""
        return "default" in self._column_fields(column)

    def _column_fields(self, column: Column[Any]) -> frozenset[str]:
        return self._fields.get(("column", *self._table(column.table), column.name), frozenset())

    def _table(self, table: Any) -> tuple[str, ...]:
        return (table.schema or self._default_schema, table.name)


def _names(identity: str) -> tuple[str, ...]:
    return tuple(unquote(part) for part in split_identity(identity))
