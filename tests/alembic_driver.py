"""Alembic itself over our revision folders, one transaction per revision and nothing else around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import alembic.op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import circle_migrate.revisions

T = TypeVar("T")

FOLDER = Path(circle_migrate.revisions.__file__).parent


@cache
def scripts(database: str) -> ScriptDirectory:
    """The revisions of one database as Alembic loads them, once: loading takes longer than most steps."""
    return ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER / database)])


def revisions(database: str) -> list[str]:
    """All revision ids of one database, base first."""
    return [script.revision for script in scripts(database).walk_revisions()][::-1]


async def on_connection(url: str, function: Callable[[Connection], T]) -> T:
    """What `function` returns, called with a SQLAlchemy connection over asyncpg."""
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(function)
    finally:
        await engine.dispose()


async def upgrade(url: str, database: str, target: str = "head") -> None:
    """Upgrade to a revision."""
    await _migrate(url, database, lambda tree, current: tree._upgrade_revs(target, current))


async def downgrade(url: str, database: str, target: str) -> None:
    """Downgrade to a revision, to `base` or by steps such as `-1`."""
    await _migrate(url, database, lambda tree, current: tree._downgrade_revs(target, current))


async def _migrate(url: str, database: str, steps: Callable[[ScriptDirectory, Any], Any]) -> None:
    await run_tree(url, scripts(database), steps)


async def run_tree(
    url: str,
    tree: ScriptDirectory,
    steps: Callable[[ScriptDirectory, Any], Any],
    metadata: MetaData | None = None,
) -> None:
    """Run steps of any tree, with the naming convention of `metadata`."""

    def run(connection: Connection) -> None:
        options = {
            "fn": lambda current, _context: steps(tree, current),
            "script": tree,
            "transaction_per_migration": True,
            "target_metadata": metadata,
        }
        context = MigrationContext(connection.dialect, connection, options)
        bind(tree, Operations(context))
        context.run_migrations()

    await on_connection(url, run)


def bind(tree: ScriptDirectory, operations: Operations) -> None:
    """Give the tree's modules `operations` for the process-global `op`."""
    for script in tree.walk_revisions():
        for name, value in list(vars(script.module).items()):
            if value is alembic.op or isinstance(value, Operations):
                setattr(script.module, name, operations)
