"""Detect a schema that has changed since the last run; a run warns of it and records it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    from circle_migrate.migrate.journal import Journal
    from circle_migrate.postgres.database import State

_SECONDS = 2.0
"""Time limit for the fingerprint of a schema; one of 5,000 tables takes 0.6 s."""

Change = tuple[str, str]
"""The fingerprint after the last run, and a later one that differs."""


async def find_change(journal: Journal, connection: asyncpg.Connection, state: State) -> Change | None:
    """Return how the schema has changed since the last run; None if it has not, or if that is not known."""
    from circle_migrate.postgres.catalog.fingerprint import has_changed, schema_fingerprint

    if state.journal_of is None:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            recorded = await journal.last_fingerprint(connection)
            now = await schema_fingerprint(connection, state, state.current) if recorded else ""
    except Exception:  # noqa: BLE001 - a run needs no fingerprint
        return None
    return (recorded, now) if recorded and has_changed(recorded, now) else None


async def fingerprint_after(
    connection: asyncpg.Connection, state: State, heads: tuple[str, ...], change: Change | None
) -> str | None:
    """Return the fingerprint of the schema after a run, None where that fails or takes too long.

    A change from before the run is taken out of it, so that the next command still finds it.
    """
    from circle_migrate.postgres.catalog.fingerprint import schema_fingerprint, without_change

    try:
        async with asyncio.timeout(_SECONDS):
            after = await schema_fingerprint(connection, state, heads)
            return without_change(after, *change) if change else after
    except Exception:  # noqa: BLE001 - the run has succeeded without it
        return None


def remedy_of_change(state: State) -> str:
    """Return what to do about a schema that has changed since the last run."""
    name = state.database
    heads = " ".join(f"{name}@{key}" for key in state.current or ("base",))
    return (
        f"circle-migrate diff --drift --database {name}; "
        f"if the schema is right: circle-migrate stamp {heads} --purge"
    )
