"""Ids of objects in the catalogue, which distinguish a renamed object from a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circle_migrate.postgres.catalog import queries
from circle_migrate.postgres.catalog.queries import PINS, read_transaction
from circle_migrate.postgres.catalog.snapshot import Address, ObjectKey
from circle_migrate.postgres.journal_tables import OWN_TABLES

if TYPE_CHECKING:
    import asyncpg


async def object_ids(
    connection: asyncpg.Connection, *, version_table: str, version_table_schema: str | None
) -> dict[ObjectKey, Address]:
    """Return the ids of the objects that `read_catalog` returns, and of some others; rare kinds have none."""
    async with read_transaction(connection):
        context = await connection.fetchrow(queries.session_context(), version_table, version_table_schema)
        await connection.execute(PINS)
        arguments = (context["schema"], [version_table, *OWN_TABLES], context["role"])
        rows = await connection.fetch(queries.object_ids_query(), *arguments)
    return {
        ObjectKey(row["kind"], row["object"]): (row["catalogue"], row["oid"], row["part"]) for row in rows
    }
