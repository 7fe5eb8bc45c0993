"""Read the state of both databases after a run, and clear them."""

from __future__ import annotations

from typing import Any

from circle_migrate.postgres.identifier import literal
from tests.deployments import RUNS, STEPS, versions
from tests.faults.shop import HEADS, TABLES, Position
from tests.schema_catalog import Catalog, catalog
from tests.servers import NAMES, Databases


async def position(databases: Databases) -> Position:
    """Return the current revisions; the tables of the standard trees must agree with them."""
    positions = {name: rows[-1] if rows else None for name, rows in (await versions(databases)).items()}
    for name, current in positions.items():
        async with databases.connect(name) as connection:
            columns = await connection.fetchval(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 "
                "AND NOT attisdropped",
                TABLES[name],
            )
        assert columns == (HEADS[name].index(current) + 1 if current else 0), name
    return positions


async def rows(databases: Databases, name: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on one of the databases."""
    async with databases.connect(name) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def steps(databases: Databases) -> dict[str, list[tuple[str, str]]]:
    """Return the steps of the journals as direction and revision, in order."""
    query = f"SELECT direction, revision FROM {STEPS} ORDER BY id"
    return {name: await rows(databases, name, query) for name in NAMES}


async def outcomes(databases: Databases) -> dict[str, list[str]]:
    """Return the outcomes of the runs in the journals, in order of their start."""
    query = f"SELECT outcome FROM {RUNS} ORDER BY started_at"
    return {name: [row[0] for row in await rows(databases, name, query)] for name in NAMES}


async def prepared(databases: Databases, *names: str) -> list[str]:
    """Return all prepared transactions on a test's databases."""
    query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid"
    return [row[0] for name in names or NAMES for row in await rows(databases, name, query)]


async def everything(databases: Databases) -> dict[str, Catalog]:
    """Return the catalogs of the databases, with version tables and journals."""
    catalogs = {}
    for name in NAMES:
        async with databases.connect(name) as connection:
            catalogs[name] = await catalog(connection, ignore=frozenset())
    return catalogs


async def clear(databases: Databases) -> None:
    """Remove all sessions, prepared transactions and objects of the databases."""
    for name in NAMES:
        async with databases.connect(name) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            for gid in await prepared(databases, name):
                await connection.execute(f"ROLLBACK PREPARED {literal(gid)}")
            await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            await connection.execute("DROP SCHEMA IF EXISTS circle_migrate CASCADE")
