"""The columns of our tables, and errors for rows that no run writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from circle_migrate.core.errors import Refused

if TYPE_CHECKING:
    import asyncpg

_COLUMNS = {
    "runs": (
        """run uuid, database text, command text, mode text, planned jsonb, outcome text,
        started_at timestamptz, db_role text, os_user text, host text, tool_version text, notes jsonb""",
        "error text, ended_at timestamptz, fingerprint text",
    ),
    "steps": (
        """id bigint, run uuid, segment integer, direction text, revision text, message text,
        started_at timestamptz, duration_ms double precision, elsewhere jsonb""",
        "checksum text, source text",
    ),
    "protection": ("protected_at timestamptz, db_role text, os_user text, host text", "reason text"),
}
"""The columns of our tables: those that are NOT NULL, and the others."""

_EXPECTED = ", ".join(
    f"('{table}', '{name}', '{kind}', {not nullable})"
    for table, texts in _COLUMNS.items()
    for nullable, text in enumerate(texts)
    for name, _, kind in (column.strip().partition(" ") for column in text.split(","))
)

OF_COLUMNS = f"""
    FROM (VALUES {_EXPECTED}) expected (tab, name, kind, required)
    LEFT JOIN pg_catalog.pg_attribute
        ON attrelid = pg_class.oid AND attname = expected.name AND atttypid = kind::regtype
    WHERE relname IN (tab, 'circle_migrate_' || tab) AND relname <> $1
"""
"""FROM and WHERE for the columns that a table of `pg_class` should have; $1 is the version table."""


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
