"""The transaction a catalogue is read in, and the settings that hold in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

# What changes how PostgreSQL prints a definition, and what keeps reading cheap: compiling these statements
# takes longer than running them, nested loops over catalogues whose size the planner guesses wrong are what
# makes thousands of tables slow, and the joins are written in an order that it need not look for.
_PINNED = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "lock_timeout": "2s",
    "jit": "off",
    "enable_nestloop": "off",
    "join_collapse_limit": "1",
}
PINS = "".join(f"SET LOCAL {name} = '{value}';" for name, value in _PINNED.items())
"""Set after whatever depends on the session's own search_path has been asked."""

# Statements, as the driver's own transactions do not nest in one that was begun by a statement.
_ALONE = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "ROLLBACK")
_NESTED = ("SAVEPOINT circle_view", "ROLLBACK TO circle_view; RELEASE circle_view")


@asynccontextmanager
async def one_view(connection: asyncpg.Connection, settings: str = "") -> AsyncIterator[None]:
    """A transaction that sees one state of the catalogue and writes nothing; a savepoint inside another one.

    It is rolled back at once, and its settings with it (`PINS`, or none yet): some locks last as long as
    their transaction.
    """
    begin, end = _NESTED if connection.is_in_transaction() else _ALONE
    await connection.execute(f"{begin};{settings}")
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(end)
