"""What Alembic's autogenerate would write for differences that are known already.

Alembic is not asked what differs: what it cannot see would be missing, and to compare two defaults it runs
both. It compares only the objects that two snapshots tell apart, takes their word for types and defaults, and
says which operations lead from one to the other.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations.ops import (
    CreateForeignKeyOp,
    CreateUniqueConstraintOp,
    MigrateOperation,
    OpContainer,
    UpgradeOps,
)

from circle_migrate.migrate.alembic_adapter.context import Context, VersionTable, dialect
from circle_migrate.postgres.catalog.snapshot import Change, Op
from circle_migrate.postgres.database import OWN_TABLES
from circle_migrate.postgres.identifier import IDENTIFIER, split_identity, unquote

if TYPE_CHECKING:
    from sqlalchemy import Column, MetaData
    from sqlalchemy.engine import Connection

_OVER_COLUMNS = re.compile(r"(?:UNIQUE|FOREIGN KEY) (?:NULLS NOT DISTINCT )?\((.*?)\)")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One operation and its reverse, as indented lines."""

    upgrade: str
    downgrade: str


def suggest(
    connection: Connection, metadata: MetaData, table: VersionTable, changes: Iterable[Change]
) -> tuple[Suggestion, ...]:
    """What Alembic would do about these changes; nothing about those at which it fails."""
    known = _Known(changes, connection.dialect.default_schema_name or "")
    options = {
        "compare_type": known.type_differs,
        "compare_server_default": True,
        "include_schemas": any(each.schema for each in metadata.tables.values()),
        "include_name": _Named(metadata),
        "include_object": known.differs,
        "target_metadata": metadata,
        **table.options,
    }
    context = Context(connection.dialect, connection, options)
    # Not as Alembic's own option, which knows no computed columns.
    context.impl.compare_server_default = known.default_differs  # type: ignore[method-assign]
    with warnings.catch_warnings():
        # About what it cannot compare, which is compared already.
        warnings.simplefilter("ignore")
        try:
            script = produce_migrations(context, metadata)
        except Exception:  # noqa: BLE001 - assertions, missing attributes, whatever a type's own code raises
            return ()
        found = (_suggestion(leave, known) for leave in _leaves(script.upgrade_ops))
        return tuple(suggestion for suggestion in found if suggestion is not None)


def _leaves(operation: Any) -> Iterator[MigrateOperation]:
    for each in operation.ops if isinstance(operation, OpContainer) else ():
        yield from _leaves(each) if isinstance(each, OpContainer) else (each,)


def _suggestion(operation: Any, known: _Known) -> Suggestion | None:
    if isinstance(operation, CreateUniqueConstraintOp | CreateForeignKeyOp):
        # Without a name it could not be dropped again.
        operation.constraint_name = operation.constraint_name or known.name_of(operation)
    try:
        return Suggestion(_code(operation), _code(operation.reverse()))
    except Exception:  # noqa: BLE001 - as above
        return None


def _code(operation: MigrateOperation) -> str:
    """The lines in a function, without Alembic's markers."""
    code = render_python_code(UpgradeOps([operation]), migration_context=Context(dialect(), None, {}))
    return "\n".join(line for line in code.splitlines() if not line.strip().startswith("# ###"))


class _Named:
    """Which names of the database Alembic looks at: not our tables, and no schema that models do not name."""

    def __init__(self, metadata: MetaData) -> None:
        self._schemas = {None, *(table.schema for table in metadata.tables.values())}

    def __call__(self, name: str | None, kind: str, _parents: object) -> bool:
        if kind == "schema":
            return name in self._schemas
        return kind != "table" or name not in OWN_TABLES


class _Known:
    """What differs, for Alembic to be asked about nothing else."""

    def __init__(self, changes: Iterable[Change], default_schema: str) -> None:
        self._default_schema = default_schema
        self._fields: dict[tuple[str, ...], frozenset[str]] = {}
        self._whole: set[tuple[str, ...]] = set()
        self._touched: set[tuple[str, ...]] = set()
        self._constraints: dict[tuple[str, ...], dict[str, str]] = {}
        for change in changes:
            own = _names(change.key.identity)
            table = _names(change.owner.identity) if change.owner else own
            self._fields[change.key.kind, *own] = frozenset(change.fields)
            self._touched.add(table)
            if change.key.kind == "table" and change.op is not Op.CHANGED:
                self._whole.add(own)
            if change.key.kind == "constraint":
                definition = change.fields.get("definition", (None, None))[1]
                self._constraints.setdefault(table, {})[own[-1]] = definition or ""

    def differs(self, thing: Any, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001 - Alembic's
        """Alembic's `include_object`."""
        table = self._table(thing if kind == "table" else thing.table)
        if kind == "table" or table in self._whole:
            return table in self._touched
        if kind == "column":
            # An assertion of Alembic's fails where a default becomes an identity.
            fields = self._fields.get((kind, *table, name or ""), frozenset({"default", "identity"}))
            return not fields >= {"default", "identity"}
        if kind == "index":
            return ("index", table[0], name or "") in self._fields or self._is_constraint(table, name)
        return self._is_constraint(table, name)

    def _is_constraint(self, table: tuple[str, ...], name: str | None) -> bool:
        """Whether a constraint differs; one without a name in the models may be any of its table."""
        if not isinstance(name, str):
            return table in self._constraints
        return ("constraint", *table, name) in self._fields

    def name_of(self, operation: CreateUniqueConstraintOp | CreateForeignKeyOp) -> str | None:
        """The name PostgreSQL gives a new constraint that has none in the models."""
        if isinstance(operation, CreateUniqueConstraintOp):
            table, schema, columns = operation.table_name, operation.schema, operation.columns
        else:
            table, schema, columns = (
                operation.source_table,
                operation.kw.get("source_schema"),
                operation.local_cols,
            )
        for name, definition in self._constraints.get((schema or self._default_schema, table), {}).items():
            match = _OVER_COLUMNS.match(definition)
            if match and [unquote(each) for each in re.findall(IDENTIFIER, match[1])] == list(columns):
                return name
        return None

    def type_differs(self, _context: object, column: Column[Any], *_types: object) -> bool:
        """Alembic's `compare_type`."""
        return not self._of(column).isdisjoint({"type", "collation"})

    def default_differs(self, column: Column[Any], *_defaults: object) -> bool:
        """In the place of the dialect's, which has PostgreSQL compute both."""
        return "default" in self._of(column)

    def _of(self, column: Column[Any]) -> frozenset[str]:
        return self._fields.get(("column", *self._table(column.table), column.name), frozenset())

    def _table(self, table: Any) -> tuple[str, ...]:
        return (table.schema or self._default_schema, table.name)


def _names(identity: str) -> tuple[str, ...]:
    return tuple(unquote(part) for part in split_identity(identity))
