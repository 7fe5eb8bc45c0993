"""The columns of our tables, and errors for rows that no run writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Refused
from circle_migrate.postgres.identifier import FIRST_OID

if TYPE_CHECKING:
    import asyncpg

_COLUMNS = {
    "runs": (
        """run uuid, database text, command text, mode text, planned jsonb, outcome text,
        started_at timestamptz, db_role text, os_user text, host text, tool_version text, notes jsonb""",
        "error text, ended_at timestamptz, fingerprint text",
    ),
    "steps": (
        """id int8, run uuid, segment int4, direction text, revision text, message text,
        started_at timestamptz, duration_ms float8, elsewhere jsonb""",
        "checksum text, source text",
    ),
    "protection": ("protected_at timestamptz, db_role text, os_user text, host text", "reason text"),
}
"""The columns of our tables: those that are NOT NULL, and the others."""

_ID_TYPES = ("text", "varchar", "bpchar")
Columns = Mapping[str, tuple[str, int, int, bool]]
"""The columns of a table: the name, oid and modifier of the type, and whether it is NOT NULL."""

READ_COLUMNS = """
(SELECT json_object_agg(attname, json_build_array(typname, atttypid::bigint, atttypmod, attnotnull))::text
 FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type ON pg_type.oid = atttypid
 WHERE attrelid = pg_class.oid AND attnum > 0)
"""
"""The columns of a table of `pg_class`, as JSON."""


def _expected(table: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the name and type of each column of our table, and whether it is NOT NULL."""
    for text, is_required in zip(_COLUMNS[table], (True, False), strict=True):
        for column in text.split(","):
            name, kind = column.split()
            yield name, kind, is_required


def find_defect(table: str | None, kind: str, columns: Columns) -> str | None:
    """Return why a relation of this kind is not our table, or, without one, no version table.

    Reading a view, or a type that a user created, can run code of its owner.
    """
    if kind not in ("r", "p"):
        return "is not an ordinary table"
    if any(oid >= FIRST_OID for _, oid, *_ in columns.values()):
        return "has a column of a type that a user created"
    types = {name: column[0] for name, column in columns.items()}
    if table is None:
        return None if types.get("version_num") in _ID_TYPES else "has no column version_num of a text type"
    lacking = ((name, kind) for name, kind, _ in _expected(table) if types.get(name) != kind)
    return next((f"has no column {name} of the type {kind}" for name, kind in lacking), None)


def nullable_columns(table: str, columns: Columns) -> str:
    """Return the columns of our table that have lost NOT NULL, separated by commas."""
    return ", ".join(
        name for name, _, is_required in _expected(table) if is_required and not columns[name][3]
    )


async def ensure_no_null(connection: asyncpg.Connection, database: str, table: str, columns: str) -> None:
    """Raise `Refused` for a row of our table that has no value in one of the columns, which lost NOT NULL."""
    query = f"SELECT to_json(own)::text FROM {table} own WHERE num_nulls({columns}) > 0 LIMIT 1"
    if text := await connection.fetchval(query):
        row = json.loads(text)
        column = next(name for name in columns.split(", ") if row[name] is None)
        raise damaged_row_error(database, table, row, column)


def damaged_row_error(database: str, table: str, row: Mapping[str, Any], column: str) -> Refused:
    """Return the error for a row of our table whose value in the column no run writes."""
    if table.endswith("protection"):
        of_run, remedy = "", f"or remove it and protect the database again: DELETE FROM {table};"
    else:
        run = "IS NULL" if row["run"] is None else f"= '{row['run']}'"
        place = table.removesuffix("runs").removesuffix("steps")
        deletes = (f"DELETE FROM {place}{name} WHERE run {run};" for name in ("steps", "runs"))
        of_run, remedy = f" of run {row['run']}", f"or remove the run from the journal: {' '.join(deletes)}"
    message = f"{database}: {table} has a damaged row{of_run}: {column} is {row[column]!r}"
    return Refused(message, database=database, hint=f"restore it, {remedy}")
