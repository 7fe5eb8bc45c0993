"""Building and dropping indexes beside running traffic, for revisions.

    from alembic import op
    from circle_migrate.indexes import drop_index_concurrently, ensure_index_concurrently

    transactional = False

    def upgrade() -> None:
        ensure_index_concurrently(op, "ix_users_phone", "users", ["phone"])

    def downgrade() -> None:
        drop_index_concurrently(op, "ix_users_phone", "users")

`CREATE INDEX CONCURRENTLY` runs outside a transaction: a build that is cut off leaves an INVALID index, which
`IF NOT EXISTS` would take for the index itself. Both functions look first, and may therefore simply be run
again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, Connection, TextClause, text

from circle_migrate.core.errors import MigrationFailed

if TYPE_CHECKING:
    from alembic.operations import Operations
    from alembic.operations.ops import MigrateOperation

_FIND = text(
    """
    SELECT namespace.nspname AS schema,
           index.indrelid::regclass::text AS table_name,
           index.indrelid = wanted.oid AS on_wanted_table,
           index.indisvalid AS valid,
           index.indisunique AS "unique",
           ARRAY(SELECT attribute.attname::text
                 FROM unnest(index.indkey::int2[]) WITH ORDINALITY AS key (attnum, position)
                 LEFT JOIN pg_attribute AS attribute
                        ON attribute.attrelid = index.indrelid AND attribute.attnum = key.attnum
                 WHERE key.position <= index.indnkeyatts
                 ORDER BY key.position) AS columns,
           (SELECT min(build.pid) FROM pg_stat_progress_create_index AS build
            WHERE build.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND build.index_relid = index.indexrelid) AS builder
    FROM pg_class AS wanted
    JOIN pg_namespace AS namespace ON namespace.oid = wanted.relnamespace
    JOIN pg_class AS named ON named.relnamespace = wanted.relnamespace AND named.relname = :name
    JOIN pg_index AS index ON index.indexrelid = named.oid
    WHERE wanted.oid = to_regclass(concat_ws('.', quote_ident(:schema), quote_ident(:table)))
    """
)

_RAW_BUILD = re.compile(
    r'create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?(?P<name>"[^"]+"|\w+)'
    r'\s+on\s+(?:only\s+)?(?P<table>[\w."]+)',
    re.IGNORECASE,
)

_TIMEOUTS = ("lock_timeout", "statement_timeout")


class _Index(NamedTuple):
    """What stands under an index's name in the schema of its table; a column is None for an expression."""

    schema: str
    table_name: str
    on_wanted_table: bool
    valid: bool
    unique: bool
    columns: list[str | None]
    builder: int | None


def ensure_index_concurrently(
    op: Operations,
    name: str,
    table: str,
    columns: Sequence[str | TextClause | ColumnElement[object]],
    *,
    unique: bool = False,
    schema: str | None = None,
    postgresql_where: str | TextClause | ColumnElement[bool] | None = None,
    postgresql_using: str | None = None,
) -> None:
    """Have the index, valid, without blocking reads or writes of its table.

    A valid index of that name is left alone, an INVALID one is dropped and built anew. The revision must
    declare `transactional = False`, and `op` is the one its module imported from Alembic.

    Raises `MigrationFailed` where the name belongs to an index of another table, of other columns or of
    other uniqueness, or where another session is building it right now.
    """
    with op.get_context().autocommit_block(), _unhurried(op) as connection:
        index = connection and _find(connection, name, table, schema)
        if index:
            _refuse_another(index, name, table, columns, unique)
            if index.valid:
                return
            _drop(op, name, table, index.schema)
        op.create_index(
            name,
            table,
            list(columns),
            unique=unique,
            schema=schema,
            postgresql_concurrently=True,
            postgresql_where=postgresql_where,
            postgresql_using=postgresql_using,
        )


def drop_index_concurrently(op: Operations, name: str, table: str, *, schema: str | None = None) -> None:
    """Be rid of the index without blocking reads or writes of its table; nothing happens where there is none.

    The revision must declare `transactional = False`. Raises `MigrationFailed` where the name belongs to an
    index of another table, or where another session is building it right now.
    """
    with op.get_context().autocommit_block(), _unhurried(op) as connection:
        if connection is None:
            _drop(op, name, table, schema)
            return
        index = _find(connection, name, table, schema)
        if index:
            _refuse_foreign_or_busy(index, name, table)
            _drop(op, name, table, index.schema)


@contextmanager
def _unhurried(op: Operations) -> Iterator[Connection | None]:
    """The connection with its timeouts off, None where SQL is only rendered.

    A concurrent build waits for older transactions without holding up anybody. To end it by a timeout
    would gain nothing and leave an INVALID index.
    """
    if op.get_context().as_sql:
        yield None
        return
    connection = op.get_bind()
    before = {
        each: connection.scalar(text("SELECT current_setting(:name)"), {"name": each}) for each in _TIMEOUTS
    }
    try:
        _set(connection, dict.fromkeys(_TIMEOUTS, "0"))
        yield connection
    finally:
        _set(connection, before)


def _set(connection: Connection, values: dict[str, str]) -> None:
    for name, value in values.items():
        connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})


def _find(connection: Connection, name: str, table: str, schema: str | None) -> _Index | None:
    row = connection.execute(_FIND, {"name": name, "table": table, "schema": schema}).one_or_none()
    return _Index(*row) if row else None


def _drop(op: Operations, name: str, table: str, schema: str | None) -> None:
    op.drop_index(name, table_name=table, schema=schema, postgresql_concurrently=True, if_exists=True)


def drop_invalid(op: Operations, operation: MigrateOperation) -> None:
    """Before an operation builds an index concurrently: drop the INVALID one that a crash has left.

    `IF NOT EXISTS` would take it for the index itself, and without it the build fails.
    """
    found = _built_concurrently(operation)
    if found is None:
        return
    name, table, schema = found
    left = _find(op.get_bind(), name, table, schema)
    if left is not None and not left.valid and left.builder is None and left.on_wanted_table:
        _drop(op, name, table, left.schema)


def _built_concurrently(operation: MigrateOperation) -> tuple[str, str, str | None] | None:
    """The name, table and schema of the index an operation builds concurrently; None for any other."""
    if getattr(operation, "kw", {}).get("postgresql_concurrently") and hasattr(operation, "columns"):
        return operation.index_name, operation.table_name, operation.schema  # type: ignore[attr-defined]
    match = _RAW_BUILD.search(str(getattr(operation, "sqltext", "")))
    if match is None:
        return None
    schema, _, table = match["table"].replace('"', "").rpartition(".")
    return match["name"].replace('"', ""), table, schema or None


def _refuse_another(
    index: _Index,
    name: str,
    table: str,
    columns: Sequence[str | TextClause | ColumnElement[object]],
    unique: bool,  # noqa: FBT001 - passed on from a keyword
) -> None:
    _refuse_foreign_or_busy(index, name, table)
    same_columns = len(index.columns) == len(columns) and all(
        there == wanted or not isinstance(wanted, str)
        for there, wanted in zip(index.columns, columns, strict=True)
    )
    if index.unique == unique and same_columns:
        return
    listed = ", ".join(column or "an expression" for column in index.columns)
    raise MigrationFailed(
        f"index {name} of {table} exists with another definition",
        detail=f"it is {'unique' if index.unique else 'not unique'} and covers {listed}",
        hint=f"drop or rename it, or give the index of this revision another name: \\d {table}",
    )


def _refuse_foreign_or_busy(index: _Index, name: str, table: str) -> None:
    if not index.on_wanted_table:
        raise MigrationFailed(
            f"index {name} should be on {table}, but that name belongs to an index of {index.table_name}",
            hint="give the index another name",
        )
    if index.builder is not None:
        raise MigrationFailed(
            f"index {name} of {table} is being built by another session (pid {index.builder})",
            hint="wait for it to end, then run the command again",
        )
