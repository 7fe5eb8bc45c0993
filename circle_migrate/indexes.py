"""Create and drop indexes without blocking reads and writes, for revisions.

    from alembic import op
    from circle_migrate.indexes import drop_index_concurrently, ensure_index_concurrently

    transactional = False

    def upgrade() -> None:
        ensure_index_concurrently(op, "ix_users_phone", "users", ["phone"])

    def downgrade() -> None:
        drop_index_concurrently(op, "ix_users_phone", "users")

`CREATE INDEX CONCURRENTLY` runs outside a transaction: an interrupted build leaves an INVALID index,
for which `IF NOT EXISTS` does nothing. Both functions check the existing index, so they can be run again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ColumnElement, Connection, TextClause, text
from sqlalchemy.sql.naming import conv

from circle_migrate.core.errors import MigrationFailed

if TYPE_CHECKING:
    from alembic.operations import Operations

# Names are SQL text, as in a statement: PostgreSQL folds and truncates them, and finds the table as for the
# revision. Functions are qualified and operators have exact types, so that none of another role is called.
_FIND = text(
    """
    SELECT named.relname::text AS name,
           namespace.nspname AS schema,
           index.indrelid::regclass::text AS table_name,
           index.indrelid = expected.oid AS on_expected_table,
           index.indisvalid AS valid,
           index.indisunique AS "unique",
           ARRAY(SELECT attribute.attname::text
                 FROM pg_catalog.unnest(index.indkey::int2[]) WITH ORDINALITY AS key (attnum, position)
                 LEFT JOIN pg_catalog.pg_attribute AS attribute
                        ON attribute.attrelid = index.indrelid AND attribute.attnum = key.attnum
                 WHERE key.position <= index.indnkeyatts
                 ORDER BY key.position) AS columns,
           (SELECT pg_catalog.min(build.pid) FROM pg_catalog.pg_stat_progress_create_index AS build
            WHERE build.datid = (
                SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
            )
              AND build.index_relid = index.indexrelid) AS builder
    FROM pg_catalog.pg_class AS expected
    JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = expected.relnamespace
    JOIN pg_catalog.pg_class AS named ON named.relnamespace = expected.relnamespace
         AND named.relname = CAST((pg_catalog.parse_ident(:name))[1] AS name)
    JOIN pg_catalog.pg_index AS index ON index.indexrelid = named.oid
    WHERE expected.oid = pg_catalog.to_regclass(:table)
    """
)

# A build without a name: PostgreSQL makes one of the table, the columns and `idx`.
_FIND_UNNAMED = text(
    """
    SELECT named.relname::text
    FROM pg_catalog.pg_index AS index JOIN pg_catalog.pg_class AS named ON named.oid = index.indexrelid
    WHERE index.indrelid = pg_catalog.to_regclass(:table) AND NOT index.indisvalid AND named.relkind = 'i'
      AND named.relname::text ~ '_idx[0-9]*$'::text AND index.indisunique = :unique
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_attribute AS attribute
          WHERE attribute.attrelid = named.oid AND attribute.attname <> 'expr'
            AND pg_catalog.strpos(pg_catalog.lower(:sql), pg_catalog.lower(attribute.attname::text)) = 0)
    """
)

_IDENTIFIER = r'(?:[uU]&"(?:[^"]|"")+"(?:\s*\buescape\s*\'.\')?|"(?:[^"]|"")+"|[\w$]+)'
_GAP = r"(?:\s|--[^\n]*+|/\*.*?\*/)"
_RAW_BUILD = re.compile(
    rf"create{_GAP}++(?P<unique>unique{_GAP}++)?index{_GAP}++concurrently{_GAP}++"
    rf"(?:if{_GAP}++not{_GAP}++exists{_GAP}++)?(?:(?!on\b)(?P<name>{_IDENTIFIER}){_GAP}*+)?"
    rf"\bon{_GAP}*+(?:\bonly\b{_GAP}*+)?(?P<table>(?:{_IDENTIFIER}\s*\.\s*)?{_IDENTIFIER})",
    re.IGNORECASE | re.DOTALL,
)
_UNICODE_NAME = re.compile(
    r"\bu&(?P<name>\"(?:[^\"]|\"\")+\")(?:\s*\buescape\s*'(?P<mark>.)')?", re.IGNORECASE | re.DOTALL
)
_MAX_NAME_BYTES = 63

_TIMEOUTS = ("lock_timeout", "statement_timeout")


class _Index(NamedTuple):
    """The index with a name in the schema of its table; a column is None for an expression.

    `builder` is the process id of the session that builds it.
    """

    name: str
    schema: str
    table_name: str
    on_expected_table: bool
    valid: bool
    unique: bool
    columns: list[str | None]
    builder: int | None

    def covers(self, columns: Sequence[object]) -> bool:
        """Return whether these are its columns; an expression among them can be any."""
        return len(self.columns) == len(columns) and all(
            existing == column or not isinstance(column, str)
            for existing, column in zip(self.columns, columns, strict=True)
        )


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
    """Create the index without blocking reads and writes of its table.

    A valid index with the name is kept, an INVALID one is dropped and built again. The revision must declare
    `transactional = False`, and `op` is the one its module imports from Alembic.

    Raises `MigrationFailed` where the name belongs to an index of another table, of other columns or of
    other uniqueness, or where another session is building it.
    """
    name = _effective_name(op, name)
    with op.get_context().autocommit_block(), _without_timeouts(op) as connection:
        index = connection and _find(connection, _quoted(name), _quoted(schema, table))
        if index:
            _ensure_usable(index, name, table)
            if index.unique != unique or not index.covers(columns):
                existing = ", ".join(column or "an expression" for column in index.columns)
                raise MigrationFailed(
                    f"index {name} of {table} exists with another definition",
                    detail=f"it is {'unique' if index.unique else 'not unique'} and covers {existing}",
                    hint="drop or rename that index, or give the index of this revision another name; "
                    f"see \\d {table}",
                )
            if index.valid:
                return
            _drop_left(op, index)
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
    """Drop the index, if it exists, without blocking reads and writes of its table.

    The revision must declare `transactional = False`. Raises `MigrationFailed` where the name belongs to an
    index of another table, or where another session is building it.
    """
    name = _effective_name(op, name)
    with op.get_context().autocommit_block(), _without_timeouts(op) as connection:
        if connection is None:
            _drop(op, name, table, schema)
            return
        index = _find(connection, _quoted(name), _quoted(schema, table))
        if index:
            _ensure_usable(index, name, table)
            _drop(op, name, table, index.schema)


@contextmanager
def _without_timeouts(op: Operations) -> Iterator[Connection | None]:
    """Yield the connection with its timeouts off, None where SQL is rendered only.

    A concurrent build that waits for older transactions blocks no other session; a timeout would leave an
    INVALID index.
    """
    if op.get_context().as_sql:
        yield None
        return
    connection = op.get_bind()
    query = text("SELECT pg_catalog.current_setting(:name)")
    timeouts = {name: connection.scalar(query, {"name": name}) for name in _TIMEOUTS}
    try:
        _set(connection, dict.fromkeys(_TIMEOUTS, "0"))
        yield connection
    finally:
        _set(connection, timeouts)


def _set(connection: Connection, values: dict[str, str]) -> None:
    for name, value in values.items():
        connection.execute(
            text("SELECT pg_catalog.set_config(:name, :value, false)"), {"name": name, "value": value}
        )


def _effective_name(op: Operations, name: str) -> str:
    """Return the name of the index: SQLAlchemy shortens names of conventions, PostgreSQL all others."""
    if isinstance(name, conv):
        preparer = op.get_context().dialect.identifier_preparer
        return preparer.truncate_and_render_index_name(name, _alembic_quote=False)
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def _quoted(*names: str | None) -> str:
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names if name)


def _find(connection: Connection, name: str, table: str) -> _Index | None:
    row = connection.execute(_FIND, {"name": name, "table": table}).one_or_none()
    return _Index(*row) if row else None


def _drop(op: Operations, name: str, table: str, schema: str | None) -> None:
    op.drop_index(name, table_name=table, schema=schema, postgresql_concurrently=True, if_exists=True)


def drop_invalid(op: Operations, sql: str) -> None:
    """Drop the INVALID index that an interrupted build has left, before a statement builds it concurrently.

    With it the build fails, does nothing with `IF NOT EXISTS`, or gets another name.
    """
    match = _RAW_BUILD.search(sql)
    if match is None:
        return
    connection, table = op.get_bind(), plain_names(match["table"])
    names = [plain_names(match["name"] or "")]
    if not match["name"]:
        values = {"table": table, "sql": plain_names(sql), "unique": match["unique"] is not None}
        names = [_quoted(name) for name in connection.scalars(_FIND_UNNAMED, values)]
    for index in (_find(connection, name, table) for name in names):
        if index and not index.valid and index.builder is None and index.on_expected_table:
            _drop_left(op, index)


def plain_names(sql: str) -> str:
    """Return the SQL with a quoted name for each `U&"..."`, which `to_regclass` does not read."""

    def plain(name: re.Match[str]) -> str:
        mark = re.escape(name["mark"] or "\\")
        code = rf"{mark}(?:(?P<mark>{mark})|\+(?P<long>[0-9a-fA-F]{{6}})|(?P<short>[0-9a-fA-F]{{4}}))"
        text = re.sub(
            code, lambda part: part["mark"] or chr(int(part["long"] or part["short"], 16)), name["name"]
        )
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return _UNICODE_NAME.sub(plain, sql)


def _drop_left(op: Operations, index: _Index) -> None:
    """Drop what a build has left, and take it out of the transcript: the revision does not have it."""
    committed = getattr(getattr(op.get_context(), "transcript", None), "committed", [])
    count = len(committed)
    _drop(op, index.name, index.table_name, index.schema)
    del committed[count:]


def _ensure_usable(index: _Index, name: str, table: str) -> None:
    """Raise `MigrationFailed` where the index belongs to another table or is being built."""
    if not index.on_expected_table:
        raise MigrationFailed(
            f"index {name} of {table} cannot be created: the name belongs to an index of {index.table_name}",
            hint="give the index another name",
        )
    if index.builder is not None:
        raise MigrationFailed(
            f"index {name} of {table} is being built by another session (pid {index.builder})",
            hint="wait until that build has ended, then run the same command again",
        )
