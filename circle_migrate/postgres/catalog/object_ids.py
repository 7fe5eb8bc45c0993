"""Where a catalogue keeps its objects: what tells one that was renamed from one that was made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.catalog.snapshot import Address, ObjectKey
from circle_migrate.postgres.database import OWN_TABLES

if TYPE_CHECKING:
    import asyncpg


async def object_ids(
    connection: asyncpg.Connection, *, version_table: str, version_table_schema: str | None
) -> dict[ObjectKey, Address]:
    """The address of each object that `capture` describes, and of some besides; rare kinds have none."""
    async with read_transaction(connection):
        place = await connection.fetchrow(queries.session_context(), version_table, version_table_schema)
        await connection.execute(PINS)
        arguments = (place["schema"], [version_table, *OWN_TABLES], place["role"])
        rows = await connection.fetch(queries.object_ids_query(), *arguments)
    return {
        ObjectKey(row["kind"], row["object"]): (row["catalogue"], row["oid"], row["part"]) for row in rows
    }
