"""Databases of the field: what the old script left at its nine revisions, with rows in every table."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

REVISIONS = {
    "main": ("dca7825748db", "b37f99db0c0e", "a930217cd080", "843c768c33cd", "f4e7d8b9c123"),
    "credentials": ("1e978f7e8aa5", "d9aa8768cf02", "a1b2c3d4e5f6", "c4b0e5c7784e"),
}
"""The old script's revisions, base first."""

STATES = [(database, revision) for database, revisions in REVISIONS.items() for revision in revisions]

_FOLDER = Path(__file__).parent / "field"
_HEADER = re.compile(r"^-- (schema|rows from|rows at) ([0-9a-f ]+)$", re.MULTILINE)


async def build(connection: asyncpg.Connection, database: str, revision: str, *, rows: bool = True) -> None:
    """Make an empty database what the old script left at `revision`, its version table included."""
    reached = REVISIONS[database][: REVISIONS[database].index(revision) + 1]
    sections = _sections(database)
    for kind, names, sql in sections:
        if kind == "schema" and names[0] in reached:
            await connection.execute(sql)
    for kind, names, sql in sections if rows else ():
        if (kind == "rows from" and names[0] in reached) or (kind == "rows at" and revision in names):
            await connection.execute(sql)
    await connection.execute(
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL,"
        " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    await connection.execute("INSERT INTO alembic_version VALUES ($1)", revision)


def _sections(database: str) -> list[tuple[str, list[str], str]]:
    parts = _HEADER.split((_FOLDER / f"{database}.sql").read_text(encoding="utf-8"))[1:]
    return [(kind, names.split(), sql) for kind, names, sql in zip(*[iter(parts)] * 3, strict=True)]
